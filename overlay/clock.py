"""Two clocks of a mesh: versions that respect causality, and a time that no single wrong machine can move.

Hybrid logical clock: Kulkarni et al., Logical Physical Clocks, OPODIS 2014, §3 (Fig. 5).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import median
from typing import Final

COUNTER_BITS: Final = 16
_WALL_TIME_MAX_S: Final = 1e11
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


class MeshTime:
    """Own monotonic clock plus the median offset of the wall clocks of this node and its neighbours.

    A wall clock an hour off, here or at a neighbour, is outvoted; one that jumps moves nothing until the
    majority agrees with it.
    """

    def __init__(self, monotonic_s: Callable[[], float], wall_time_s: float) -> None:
        self._monotonic_s = monotonic_s
        self._own_offset_s = wall_time_s - monotonic_s()
        self._offsets_s: dict[bytes, float] = {}
        self._median_s = self._own_offset_s

    def now_s(self) -> float:
        return self._monotonic_s() + self._median_s

    @property
    def own_error_s(self) -> float:
        """How far this machine's wall clock was ahead of the mesh when it started."""
        return self._own_offset_s - self._median_s

    def sampled(self, neighbour: bytes, wall_time_s: float, round_trip_s: float) -> None:
        """A neighbour's wall time, just received, `round_trip_s` after it was asked. What no clock shows is passed
        over: in a mesh of two there is no majority to outvote it."""
        if not 0 <= wall_time_s <= _WALL_TIME_MAX_S:
            return
        self._offsets_s[neighbour] = wall_time_s + round_trip_s / 2 - self._monotonic_s()
        self._settle()

    def forget(self, neighbour: bytes) -> None:
        if self._offsets_s.pop(neighbour, None) is not None:
            self._settle()

    def _settle(self) -> None:
        self._median_s = median([self._own_offset_s, *self._offsets_s.values()])
