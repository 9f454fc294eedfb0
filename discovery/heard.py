"""Engine: what a node has heard on its network and what came of it, for whoever asks why a machine is not there.

own echoes   this node's own beacons, by the interface they came back on
members      beacons of this mesh, by the address they name
strangers    beacons and services of other meshes
failures     why the latest dial of an address failed; gone when one succeeds
answered     when an address was last reached

All of it is hearsay that anybody on the network can make up: each table keeps its `KEPT_MAX` latest entries.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Generic, TypeVar

import msgspec

from ..overlay.ports import Address

KEPT_MAX: Final = 256
REASON_CHARS_MAX: Final = 300

K = TypeVar("K")
V = TypeVar("V")


class Failure(msgspec.Struct, frozen=True):
    reason: str
    at_s: float
    times: int
    given: bool
    """The user gave this address; else it was seen."""
    answered: bool
    """Before, at least once."""


class Latest(Generic[K, V]):
    """The last `KEPT_MAX` things noted."""

    def __init__(self) -> None:
        self._entries: dict[K, V] = {}

    def note(self, key: K, value: V) -> None:
        self._entries.pop(key, None)
        self._entries[key] = value
        if len(self._entries) > KEPT_MAX:
            del self._entries[next(iter(self._entries))]

    def drop(self, key: K) -> None:
        self._entries.pop(key, None)

    def get(self, key: K) -> V | None:
        return self._entries.get(key)

    @property
    def entries(self) -> Mapping[K, V]:
        return self._entries


class Heard:
    def __init__(self) -> None:
        self.echoes: Latest[str, float] = Latest()
        self.members: Latest[Address, float] = Latest()
        self.strangers: Latest[Address, float] = Latest()
        self.failures: Latest[Address, Failure] = Latest()
        self.answered: Latest[Address, float] = Latest()
        self.first_stranger: Callable[[Address], None] | None = None
        """Told of the first, while there is none."""
        self.zeroconf_fault = ""
        """Why it does not work here, if it does not."""

    def stranger(self, now_s: float, address: Address) -> None:
        if self.first_stranger is not None and not self.strangers.entries:
            self.first_stranger(address)
        self.strangers.note(address, now_s)

    def failed(self, now_s: float, address: Address, reason: str, *, given: bool) -> None:
        before = self.failures.get(address)
        times = 1 if before is None else before.times + 1
        answered = self.answered.get(address) is not None
        self.failures.note(address, Failure(reason[:REASON_CHARS_MAX], now_s, times, given, answered))

    def reached(self, now_s: float, address: Address) -> None:
        self.failures.drop(address)
        self.strangers.drop(address)
        self.answered.note(address, now_s)
