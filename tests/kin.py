"""Who was begun by whom, as the kernel says it.

psutil also compares when both began, by the boot time, which it reads anew each time: where the clock is being set that
slips by a second now and then, and whoever was begun at once is no child any more.
"""

from __future__ import annotations

from contextlib import suppress

import psutil


def children(pid: int) -> list[psutil.Process]:
    """By number. Those that end meanwhile may be among them or not."""
    return _by_parent().get(pid, [])


def descendants(pid: int) -> list[psutil.Process]:
    """Parents come before what they have begun."""
    by_parent = _by_parent()
    found = list(by_parent.get(pid, []))
    for process in found:
        found += by_parent.get(process.pid, [])
    return found


def _by_parent() -> dict[int, list[psutil.Process]]:
    found: dict[int, list[psutil.Process]] = {}
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            found.setdefault(process.ppid(), []).append(process)
    return found
