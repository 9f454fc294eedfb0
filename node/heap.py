"""What the node has freed goes back to the system.

The allocator of the C library keeps what lies between things that live on: after a burst that is most of it, and for
good. It can say how much that is and give it back (mallinfo2(3), malloc_trim(3)); a library that cannot is left alone.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Final

import trio

_LOOK_S: Final = 5.0
_WORTH_BYTES: Final = 4 << 20


class _Info(ctypes.Structure):
    """`struct mallinfo2`."""

    _fields_ = (("others", ctypes.c_size_t * 8), ("fordblks", ctypes.c_size_t), ("keepcost", ctypes.c_size_t))


class Tidying:
    """Decides when to give back, of what `free_bytes` says: what was given back once still counts as free."""

    def __init__(self, free_bytes: Callable[[], int], give_back: Callable[[], object]) -> None:
        self._free_bytes = free_bytes
        self._give_back = give_back
        self._least_bytes = 0
        """Free since then: so much was given back, or was never there."""

    def look(self) -> None:
        free_bytes = self._free_bytes()
        self._least_bytes = min(self._least_bytes, free_bytes)
        if free_bytes - self._least_bytes >= _WORTH_BYTES:
            self._give_back()
            self._least_bytes = free_bytes


def of_this_process() -> Tidying | None:
    libc = ctypes.CDLL(None)
    try:
        info, trim = libc.mallinfo2, libc.malloc_trim
    except AttributeError:
        return None
    info.restype = _Info
    return Tidying(lambda: int(info().fordblks), lambda: trim(0))


async def keep_tidy() -> None:
    tidying = of_this_process()
    while tidying is not None:
        await trio.sleep(_LOOK_S)
        tidying.look()
