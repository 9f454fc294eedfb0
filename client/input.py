"""This program's standard input, for a script that runs elsewhere.

Read in a thread of its own, and only what the script has room for. What was read is kept for a while: another attempt
begins again.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from ..overlay.wire.control import InputAsked, InputGiven
from ..overlay.wire.streams import InputPart
from .threads import start

KEPT_BYTES_MAX: Final = 1 << 20
"""A script that has been given more cannot be tried again."""
PART_BYTES: Final = 64 << 10


class StandardInput:
    """`ask` is for the connection's reader. The thread is a daemon: nobody may ever write to what it reads from."""

    def __init__(self, tell: Callable[[InputGiven], None], descriptor: int | None = None) -> None:
        self._tell = tell
        self._descriptor = _own_input() if descriptor is None else descriptor
        self._asked: deque[InputAsked] = deque()
        self._rung = threading.Semaphore(0)
        self._kept = bytearray()
        self._kept_from = 0
        self._ended = self._descriptor is None
        self._thread: threading.Thread | None = None

    def ask(self, asked: InputAsked) -> None:
        """Raises Unavailable where there is no thread for it."""
        self._asked.append(asked)
        self._rung.release()
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="potluck-input", daemon=True)
            start(self._thread)

    def _run(self) -> None:
        while True:
            self._rung.acquire()
            asked = self._asked.popleft()
            self._tell(InputGiven(asked.source, self._answer(asked)))

    def _answer(self, asked: InputAsked) -> InputPart:
        wanted = asked.wanted
        while not self._ended and wanted.offset >= self._known:
            self._read()
        start = wanted.offset - self._kept_from
        data = bytes(self._kept[max(0, start) : start + PART_BYTES]) if start >= 0 else b""
        end = self._ended and wanted.offset + len(data) >= self._known
        return InputPart(wanted.job, wanted.index, wanted.attempt, wanted.offset, data, end=end, gone=start < 0)

    @property
    def _known(self) -> int:
        return self._kept_from + len(self._kept)

    def _read(self) -> None:
        assert self._descriptor is not None, "what is not there has ended"
        data = b"" if _is_somebody_elses(self._descriptor) else _read(self._descriptor)
        self._ended = not data
        self._kept += data
        if (excess := len(self._kept) - KEPT_BYTES_MAX) > 0:
            del self._kept[:excess]
            self._kept_from += excess


def is_waiting(descriptor: int | None = None) -> bool:
    """Whether something was piped here, or comes from a file, that nobody has read. What is typed does not count."""
    descriptor = _own_input() if descriptor is None else descriptor
    waiting_bytes = bytearray(4)
    try:
        if descriptor is None or os.isatty(descriptor):
            return False
        fcntl.ioctl(descriptor, termios.FIONREAD, waiting_bytes)
    except OSError:
        return False  # nothing that could be counted, as of /dev/null
    return any(waiting_bytes)


def _own_input() -> int | None:
    """None for a program that was begun without one: what has the number 0 may be anything now, such as the very
    connection to the node."""
    return None if sys.__stdin__ is None else 0


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, PART_BYTES)
    except OSError:
        return b""  # it is closed, or cannot be read from


def _is_somebody_elses(descriptor: int) -> bool:
    """A terminal whose keys are for another program now: to read from it would stop this one."""
    try:
        return os.tcgetpgrp(descriptor) != os.getpgrp()
    except OSError:
        return False  # no terminal, or not ours
