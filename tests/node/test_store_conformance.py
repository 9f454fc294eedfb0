"""The store on disk and the virtual one keep to the same rules."""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from hypothesis import settings
from potluck.node.store import SqliteStore
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


class DiskPlace:
    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self._path = Path(self._folder.name) / "state.db"

    def open(self) -> SqliteStore:
        return SqliteStore(self._path)

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        trio.run(work)

    def crash(self, store: Store) -> None:
        """As much of a crash as one process can play: the connections go, without a commit."""
        assert isinstance(store, SqliteStore)
        store._reader.close()
        store._writer.close()

    def remove(self) -> None:
        self._folder.cleanup()


class DiskMachine(StoreMachine):
    @staticmethod
    def make_place() -> Place:
        return DiskPlace()


TestSqliteStore = DiskMachine.TestCase
TestSqliteStore.settings = settings(max_examples=15, stateful_step_count=20, deadline=None)

PLACES = pytest.mark.parametrize("make_place", [VirtualPlace, DiskPlace], ids=["virtual", "disk"])


@PLACES
def test_a_cancelled_commit_takes_nothing_from_those_who_wait(make_place: Callable[[], Place]) -> None:
    """Two callers commit, the first is cancelled on the way: the second's writes are on disk when it returns."""
    place = make_place()
    store = place.open()

    async def commit_under(scope: trio.CancelScope) -> None:
        with scope:
            await store.commit()

    async def two_commit() -> None:
        async with trio.open_nursery() as nursery:
            scope = trio.CancelScope()
            store.put("records", b"first", b"1")
            nursery.start_soon(commit_under, scope)
            await trio.lowlevel.checkpoint()
            store.put("records", b"second", b"2")
            nursery.start_soon(store.commit)
            scope.cancel()

    place.run(two_commit)
    assert store.get("records", b"first") == b"1"
    place.crash(store)
    assert place.open().get("records", b"second") == b"2"
    place.remove()
