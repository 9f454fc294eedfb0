"""Two clocks of a mesh: versions that respect causality, and a time that no minority of wrong machines can move.

Hybrid logical clock: Kulkarni et al., Logical Physical Clocks, OPODIS 2014, §3 (Fig. 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

COUNTER_BITS: Final = 16
GROWN_S: Final = 10.0
"""From its start on, a node meets its neighbours in less."""
APART_S: Final = 1.0
"""Clocks that differ by less show the same time."""
AS_OLD_S: Final = 1.0
_TIME_MAX_S: Final = 1e11
"""The year 5138: versions of this time still fit the wire, and no clock is set so far off by mistake."""


def version_at(time_s: float) -> int:
    """The smallest version of a moment of mesh time."""
    return int(time_s * 1000) << COUNTER_BITS


def time_of(version: int) -> float:
    return (version >> COUNTER_BITS) / 1000


class HybridClock:
    """Versions that only grow: above every one given out and every one seen.

    One exception: a version more than `ahead_max_s` ahead of the mesh is kept by nobody. A node that gave such out
    before it met the mesh, by a wall clock an hour off, begins again at mesh time.
    """

    def __init__(self, mesh_time_s: Callable[[], float], ahead_max_s: float = math.inf) -> None:
        self._mesh_time_s = mesh_time_s
        self._ahead_max_s = ahead_max_s
        self._last = 0

    def next_version(self) -> int:
        """A version above all given out or observed; its counter runs over into the milliseconds, never back."""
        now_s = self._mesh_time_s()
        if time_of(self._last) > now_s + self._ahead_max_s:
            self._last = 0
        self._last = max(self._last + 1, version_at(now_s))
        return self._last

    def observe(self, version: int) -> None:
        """Another node's version; the caller has checked that it is not too far ahead."""
        self._last = max(self._last, version)


class Said(NamedTuple):
    """What a node says of its clock."""

    time_s: float
    age_s: float
    """How long the node has lived in the mesh, as it says."""
    wall_s: float = 0.0
    """What its wall clock shows. For people: it moves nothing."""


class _Voice(msgspec.Struct, frozen=True):
    """One node's say in what time it is. Offsets are to this node's running clock."""

    who: bytes
    offset_s: float
    born_s: float
    grown: bool


class MeshTime:
    """The time that the nodes of a mesh share: a running clock and one offset, which only other nodes move.

    A node younger than `GROWN_S` is new to the mesh: it speaks for its own wall clock, as that was at its start, and
    is heard only where nobody is grown. A grown node speaks for the mesh's time as it has it; one that had to be put
    right by `APART_S` is new again, because what it says next it has from others. The offset is the median
    of those who are heard, this node included. Where the two in the middle are `APART_S` apart there is no majority:
    who is not heard itself takes the one nearer to its own clock; among those who are, the side of the node that has
    lived longest wins, and of two as old the side of the smallest id.

    So whoever is started, invited or returns takes on the time it finds, however wrong its clock; two nodes agree; and
    the time of a mesh stays among what its right clocks say while they are the majority. Nothing else moves it: no wall
    clock that is set while the node runs, and nobody's going.
    """

    def __init__(self, running_s: Callable[[], float], wall_s: Callable[[], float], own_id: bytes = b"") -> None:
        self._running_s = running_s
        self._wall_s = wall_s
        self._own_id = own_id
        self._born_s = running_s()
        """When it was new, for the first time or again."""
        self._own_offset_s = self._offset_s = wall_s() - self._born_s
        self._voices: dict[bytes, _Voice] = {}
        self._wall_offsets_s: dict[bytes, float] = {}
        self.stepped: list[Callable[[float], None]] = []
        """Called with the seconds by which this node's time was put forward (or back), where they matter."""
        self.met: list[Callable[[], None]] = []
        """Called once: a neighbour has said what time it is, and that is this node's time, too."""
        self._has_met = False

    def now_s(self) -> float:
        return self._running_s() + self._offset_s

    def says(self) -> Said:
        """What this node tells its neighbours."""
        own = self._own_voice()
        running_s = self._running_s()
        return Said(running_s + own.offset_s, running_s - self._born_s, self._wall_s())

    def not_before(self, time_s: float) -> None:
        """At the start: this node's own records are of this time, so that its own clock lags behind."""
        lag_s = time_s - (self._running_s() + self._own_offset_s)
        if lag_s > 0:
            self._own_offset_s += lag_s
            self._offset_s += lag_s

    def sampled(self, neighbour: bytes, said: Said, round_trip_s: float = 0.0) -> None:
        """What a neighbour has just said, `round_trip_s` after it was asked. What no clock shows is passed over."""
        if not (0 <= said.time_s <= _TIME_MAX_S and 0 <= said.age_s <= _TIME_MAX_S):
            return
        now_s = self._running_s()
        offset_s = said.time_s + round_trip_s / 2 - now_s
        self._voices[neighbour] = _Voice(neighbour, offset_s, now_s - said.age_s, said.age_s >= GROWN_S)
        if 0 < said.wall_s <= _TIME_MAX_S:
            self._wall_offsets_s[neighbour] = said.wall_s - now_s
        self._settle()
        if not self._has_met:
            self._has_met = True
            for observer in self.met:
                observer()

    def forget(self, neighbour: bytes) -> None:
        """It is no neighbour any more. The time stays what it was."""
        self._voices.pop(neighbour, None)
        self._wall_offsets_s.pop(neighbour, None)

    def wall_error_s(self) -> float:
        """How far this machine's wall clock is ahead of what most of them show here; of the mesh's time where no
        majority agrees. A mesh that a wrong clock began has its time, but that clock is wrong all the same."""
        own_s = self._wall_s() - self._running_s()
        offsets_s = sorted([own_s, *self._wall_offsets_s.values()])
        middle_s = offsets_s[len(offsets_s) // 2]
        agreeing = sum(abs(offset_s - middle_s) <= APART_S for offset_s in offsets_s)
        return own_s - (middle_s if agreeing > max(1, len(offsets_s) / 2) else self._offset_s)

    def _own_voice(self) -> _Voice:
        grown = self._running_s() - self._born_s >= GROWN_S
        return _Voice(self._own_id, self._offset_s if grown else self._own_offset_s, self._born_s, grown)

    def _settle(self) -> None:
        own = self._own_voice()
        everyone = [own, *self._voices.values()]
        heard = [voice for voice in everyone if voice.grown] or everyone
        before_s, self._offset_s = self._offset_s, _median(heard, own)
        step_s = self._offset_s - before_s
        if abs(step_s) > APART_S:
            self._born_s = self._running_s()
            for observer in self.stepped:
                observer(step_s)


def _median(heard: list[_Voice], own: _Voice) -> float:
    """Where there is none, one of the two in the middle. Whatever the voices of a minority say, it lies among those
    of the others."""
    offsets_s = sorted(voice.offset_s for voice in heard)
    low_s, high_s = offsets_s[(len(offsets_s) - 1) // 2], offsets_s[len(offsets_s) // 2]
    if high_s - low_s <= APART_S:
        return (low_s + high_s) / 2
    if own not in heard:
        return low_s if own.offset_s - low_s < high_s - own.offset_s else high_s
    low = [voice for voice in heard if voice.offset_s <= low_s]
    high = [voice for voice in heard if voice.offset_s >= high_s]
    return low_s if _has_lived_longer(low, high) else high_s


def _has_lived_longer(some: list[_Voice], others: list[_Voice]) -> bool:
    """Ages take a moment to travel: those that differ by less than `AS_OLD_S` are the same, whoever compares them."""
    older_s = min(voice.born_s for voice in others) - min(voice.born_s for voice in some)
    if abs(older_s) > AS_OLD_S:
        return older_s > 0
    return min(voice.who for voice in some) < min(voice.who for voice in others)
