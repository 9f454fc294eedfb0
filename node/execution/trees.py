"""What the machine's process table tells of a process and all that it has started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from ...overlay.wire.limits import Usage

_TICK_S: Final = 1 / os.sysconf("SC_CLK_TCK")


class Entry(NamedTuple):
    """Of a process; an empty state if there is none."""

    state: str
    parent: int
    session: int
    cpu_s: float
    """Of itself and of those that it has waited for."""
    threads: int

    @property
    def is_alive(self) -> bool:
        return self.state not in ("", "Z", "X")

    @property
    def is_running(self) -> bool:
        return self.is_alive and self.state not in ("T", "t")


_NOBODY: Final = Entry("", 0, 0, 0.0, 0)


def entry_of(pid: int) -> Entry:
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (hot)
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return _NOBODY
    ticks = sum(map(int, fields[11:15]))
    return Entry(fields[0], int(fields[1]), int(fields[3]), ticks * _TICK_S, int(fields[17]))


def family_of(root: int) -> set[int]:
    """What descends from it or is of its session, in one look. Taken before the root is killed: afterwards nothing
    tells whose children the others were."""
    children: dict[int, list[int]] = {}
    found = set()
    for pid in _all_pids():
        entry = entry_of(pid)
        children.setdefault(entry.parent, []).append(pid)
        if entry.session == root and pid != root:
            found.add(pid)
    pending = [root, *found]
    while pending:
        new = [pid for pid in children.get(pending.pop(), []) if pid not in found]
        found.update(new)
        pending += new
    return found


def descendants_of(root: int) -> set[int]:
    """As the kernel lists them: without a look at everybody else, and without those that were left by a parent."""
    found: set[int] = set()
    pending = [root]
    while pending:
        for file in Path(f"/proc/{pending.pop()}/task").glob("*/children"):
            try:
                children = set(map(int, file.read_text().split())) - found
            except OSError:
                continue
            found |= children
            pending += children
    return found


def usage_of(pids: Iterable[int]) -> Usage:
    """Memory is the proportional share, so that what processes have in common counts once."""
    entries = {pid: entry for pid in pids if (entry := entry_of(pid)).is_alive}
    return Usage(
        memory_bytes=sum(map(_memory_bytes, entries)),
        cpu_s=sum(entry.cpu_s for entry in entries.values()),
        processes=sum(entry.threads for entry in entries.values()),
    )


def _memory_bytes(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208 (numbers, not paths)
