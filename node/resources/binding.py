"""Keeping a tree of processes to some of the machine's cores.

A thread starts on the cores of the thread that has made it, so that one look is enough for a tree that has not begun.
Where one has, looks are repeated until nobody is found elsewhere. A task can undo this for itself: it is an
arrangement between those that want to be fast, no wall.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

LOOKS_MAX: Final = 8


def bind(tree: Callable[[], Iterable[int]], cores: Collection[int]) -> bool:
    """Whether nobody of it was anywhere else at the last look."""
    wanted = set(cores)
    for _ in range(LOOKS_MAX):
        elsewhere = [thread for thread in _threads(tree()) if _cores_of(thread) not in (None, wanted)]
        if not elsewhere:
            return True
        for thread in elsewhere:
            with suppress(ProcessLookupError, PermissionError):
                os.sched_setaffinity(thread, wanted)
    return False


def _threads(pids: Iterable[int]) -> Iterator[int]:
    for pid in pids:
        with suppress(OSError):
            yield from [int(entry.name) for entry in Path(f"/proc/{pid}/task").iterdir()]


def _cores_of(thread: int) -> set[int] | None:
    try:
        return set(os.sched_getaffinity(thread))
    except OSError:
        return None
