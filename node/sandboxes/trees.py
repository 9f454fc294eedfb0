"""What the machine's process table tells of a process and all that it has started."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final, NamedTuple

from ...overlay.wire.limits import Usage

_BLOCK_BYTES: Final = 512
"""What the system counts blocks in, whatever they are."""
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
    shares = [_shares(pid) for pid in entries]
    # Files without a name count as a whole, mapped or not; what is shared otherwise is mapped.
    shared_bytes = max(sum(share["Pss_Shmem"] for share in shares), _unnamed_bytes(entries))
    return Usage(
        memory_bytes=sum(share["Pss_Anon"] + share["Pss_File"] for share in shares) + shared_bytes,
        cpu_s=sum(entry.cpu_s for entry in entries.values()),
        processes=sum(entry.threads for entry in entries.values()),
    )


def _shares(pid: int) -> dict[str, int]:
    found = {"Pss_Anon": 0, "Pss_File": 0, "Pss_Shmem": 0}
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return found
    for line in lines:
        name, _, kilobytes = line.partition(":")
        if name in found:
            found[name] = int(kilobytes.split()[0]) * 1024
    return found


def _unnamed_bytes(pids: Iterable[int]) -> int:
    """In files that only their descriptors lead to, and that lie in memory."""
    device = _memory_device()
    sizes: dict[int, int] = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").glob("*"):
            try:
                found = descriptor.stat()
            except OSError:
                continue
            if found.st_dev == device:
                sizes[found.st_ino] = found.st_blocks * _BLOCK_BYTES
    return sum(sizes.values())


def _memory_device() -> int:
    made = os.memfd_create("potluck-device")
    try:
        return os.fstat(made).st_dev
    finally:
        os.close(made)


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208 (numbers, not paths)
