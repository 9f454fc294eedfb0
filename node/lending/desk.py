"""What this machine tells of its owner: when a terminal was last used, and how busy other programs are."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import psutil

from ...overlay.ports import Look
from ..sandboxes.trees import descendants_of, entry_of


class Desk:
    """`devices` are looked at beside the terminals of whoever is logged in: their last use is their owner's."""

    def __init__(self, devices: Sequence[str] = ()) -> None:
        self._devices = tuple(devices)
        self._before: tuple[float, float] | None = None
        """When was looked last, and how much CPU time others had taken by then."""

    def look(self) -> Look:
        now_s, others_s = time.monotonic(), _busy_s() - _ours_s()
        busy_cpus = 0.0
        if self._before is not None and now_s > self._before[0]:
            busy_cpus = max(0.0, others_s - self._before[1]) / (now_s - self._before[0])
        self._before = now_s, others_s
        used_s = max((_used_s(path) for path in self._watched()), default=-math.inf)
        return Look(untouched_s=max(0.0, time.time() - used_s), busy_cpus=busy_cpus)  # noqa: TID251 (of files)

    def _watched(self) -> Iterator[str]:
        yield from self._devices
        for user in psutil.users():
            if user.terminal:
                yield f"/dev/{user.terminal}"


def _used_s(path: str) -> float:
    """Unix time of its last use; the kernel keeps that of terminals to some seconds."""
    try:
        found = Path(path).stat()
    except OSError:
        return -math.inf
    return max(found.st_atime, found.st_mtime)


def _busy_s() -> float:
    """CPU time that has been taken on this machine."""
    times = psutil.cpu_times()
    idle_s = times.idle + getattr(times, "iowait", 0.0)
    counted_twice_s = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    return float(sum(times) - idle_s - counted_twice_s)


def _ours_s() -> float:
    """Of this node and all that it has started, with those that have ended: whoever has waited for them has counted
    them."""
    return sum(entry_of(pid).cpu_s for pid in {os.getpid(), *descendants_of(os.getpid())})
