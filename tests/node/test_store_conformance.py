"""The store on disk and the virtual one keep to the same rules."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from hypothesis import settings
from potluck.overlay.ports import Store
from potluck.simulations import determinism
from potluck.simulations.store import VirtualDisk, VirtualStore

from .store_suite import Place, StoreMachine


class VirtualPlace:
    def __init__(self) -> None:
        self._disk = VirtualDisk()

    def open(self) -> VirtualStore:
        return VirtualStore(self._disk, lambda: 0.001)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        determinism.run(work, seed=1)

    def crash(self, store: Store) -> None:
        assert isinstance(store, VirtualStore)
        store.cut()

    def remove(self) -> None:
        """Nothing is left anywhere."""


class VirtualMachine(StoreMachine):
    @staticmethod
    def make_place() -> Place:
        return VirtualPlace()


TestVirtualStore = VirtualMachine.TestCase
TestVirtualStore.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
