"""Who was begun by whom, as the kernel says it.

psutil also compares when both began, by the boot time, which it reads anew each time: where the clock is being set that
slips by a second now and then, and whoever was begun at once is no child any more.
"""

from __future__ import annotations

from contextlib import suppress

import psutil


def children(pid: int) -> list[psutil.Process]:
    """By number. Those that end meanwhile may be among them or not."""
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess):
            if process.ppid() == pid:
                found.append(process)
    return found


def descendants(pid: int) -> list[psutil.Process]:
    """Parents come before what they have begun."""
    found = children(pid)
    for process in found:
        found += children(process.pid)
    return found
