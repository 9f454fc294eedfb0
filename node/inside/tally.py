"""How much of its output the node has taken, in a page that node and worker share.

stdout and stderr of a worker are pipes: a task that prints faster than anybody reads waits, and nothing piles up. A
pipe does not say how much has ever gone through it, and a worker must, so that the output of one task is told from
that of the next. It is the sum of what the node has taken and what still lies in the pipe. A word of the page, one
for each stream, is twice the bytes taken, plus one while the node is taking more; if it is even and the same before
and after the pipe was looked at, nothing was taken meanwhile, and the sum is exact.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import termios
import time
from array import array
from typing import Final

WORD_BYTES: Final = 8
_BUSY_PAUSE_S: Final = 0.000_05


class Tally:
    """The node's side. `descriptor` is for the worker, and read-only."""

    def __init__(self) -> None:
        made = os.memfd_create("potluck-tally")
        try:
            os.ftruncate(made, mmap.PAGESIZE)
            self._page = mmap.mmap(made, mmap.PAGESIZE)
            self.descriptor = os.open(f"/proc/self/fd/{made}", os.O_RDONLY)
        finally:
            os.close(made)
        self._words = memoryview(self._page).cast("Q")

    def take(self, stream: int, pipe: int, size_bytes_max: int) -> bytes:
        """Reads from the pipe of a stream, 1 or 2, what lies in it now."""
        taken = self._words[stream]
        self._words[stream] = taken | 1
        data = b""
        try:
            data = os.read(pipe, size_bytes_max)
        except BlockingIOError:
            pass  # nothing new
        finally:
            self._words[stream] = taken + 2 * len(data)
        return data

    def close(self) -> None:
        self._words.release()
        self._page.close()


class Written:
    """The worker's side: how much has ever been written to the pipe of a stream."""

    def __init__(self, descriptor: int) -> None:
        self._page = mmap.mmap(descriptor, mmap.PAGESIZE, prot=mmap.PROT_READ)
        self._words = memoryview(self._page).cast("Q")
        self._inside = array("i", [0])

    def bytes_of(self, stream: int, pipe: int) -> int:
        """`pipe` is its end for writing. Nothing may be written meanwhile by whoever wants to know."""
        words, inside = self._words, self._inside
        while True:
            before = words[stream]
            fcntl.ioctl(pipe, termios.FIONREAD, inside, True)
            if before & 1:
                time.sleep(_BUSY_PAUSE_S)  # the node is about to be done: it does nothing else meanwhile
            elif words[stream] == before:
                return (before >> 1) + inside[0]
