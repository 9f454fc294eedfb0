"""What `multiprocessing` finds in a confined worker, where /dev/shm, which is everybody's, is out of reach.

| for                            | it uses elsewhere             | and here                                       |
|--------------------------------|-------------------------------|------------------------------------------------|
| locks, queues, pools           | a named semaphore in /dev/shm | a pipe: as many bytes in it as the value is    |
| `SharedMemory`                 | a file in /dev/shm            | one of the same name in the scratch folder     |
| `Value`, `Array`               | a mapped file in /dev/shm     | one in the scratch folder                      |

Reading a byte acquires, writing one releases: so the kernel counts and wakes. Forked processes inherit pipes; those
that begin with a fresh Python (`spawn`, `forkserver`) find the usual ones, which do not work in here.
"""

from __future__ import annotations

import errno
import fcntl
import importlib
import os
import select
import termios
import threading
from array import array
from pathlib import Path
from time import monotonic
from typing import Any, Final

RECURSIVE_MUTEX: Final = 0
_UNIT: Final = b"1"
_PIPE_BYTES: Final = 64 << 10


class PipeSemaphore:
    """As `_multiprocessing.SemLock`, with its names."""

    SEM_VALUE_MAX: Final = 32_767
    """The least that POSIX asks for; every pipe holds as much."""

    name: None = None

    def __init__(self, kind: int, value: int, maxvalue: int, _name: str, _unlink: bool) -> None:
        if not 0 <= value <= self.SEM_VALUE_MAX:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
        self.kind = kind
        self.maxvalue = maxvalue
        self._read, self._write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        fcntl.fcntl(self._write, fcntl.F_SETPIPE_SZ, _PIPE_BYTES)
        os.write(self._write, _UNIT * value)
        self._held = 0
        """How often this process has acquired it and not released it since."""
        self._holder = 0
        """The thread that was the last to."""

    def __del__(self) -> None:
        for descriptor in (getattr(self, "_read", None), getattr(self, "_write", None)):
            if descriptor is not None:
                os.close(descriptor)

    @property
    def handle(self) -> int:
        return self._read

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        if self.kind == RECURSIVE_MUTEX and self._is_mine():
            self._held += 1
            return True
        end_s = None if timeout is None else monotonic() + max(0.0, timeout)
        while not self._take():
            if not block or not self._await(end_s):
                return False
        self._held += 1
        self._holder = threading.get_ident()
        return True

    def _take(self) -> bool:
        try:
            return bool(os.read(self._read, 1))
        except BlockingIOError:
            return False

    def _await(self, end_s: float | None) -> bool:
        """For a unit, which somebody else may be faster to take. False once there is no time left."""
        left_s = None if end_s is None else end_s - monotonic()
        if left_s is not None and left_s <= 0:
            return False
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        poll.poll(None if left_s is None else left_s * 1000)
        return True

    def release(self) -> None:
        if self.kind == RECURSIVE_MUTEX:
            if not self._is_mine():
                raise AssertionError("attempt to release recursive lock not owned by thread")
            if self._held > 1:
                self._held -= 1
                return
        elif self._get_value() >= min(self.maxvalue, self.SEM_VALUE_MAX):
            raise ValueError("semaphore or lock released too many times")
        self._held -= 1
        os.write(self._write, _UNIT)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_error: object) -> None:
        self.release()

    def _count(self) -> int:
        return self._held

    def _is_mine(self) -> bool:
        return self._held > 0 and self._holder == threading.get_ident()

    def _get_value(self) -> int:
        waiting = array("i", [0])
        fcntl.ioctl(self._read, termios.FIONREAD, waiting, True)
        return waiting[0]

    def _is_zero(self) -> bool:
        return not self._get_value()

    def _after_fork(self) -> None:
        self._held = 0


def without_shared_folder(scratch: str) -> None:
    """For this process and those that it forks."""
    semaphores: Any = importlib.import_module("_multiprocessing")
    memory: Any = importlib.import_module("_posixshmem")
    heap: Any = importlib.import_module("multiprocessing.heap")

    def place_of(name: str) -> str:
        return f"{scratch}/shared-{name.removeprefix('/')}"

    def shm_open(path: str, flags: int, mode: int = 0o777) -> int:
        return os.open(place_of(path), flags | os.O_CLOEXEC | os.O_NOFOLLOW, mode)

    def shm_unlink(path: str) -> None:
        Path(place_of(path)).unlink()

    semaphores.SemLock = PipeSemaphore
    memory.shm_open, memory.shm_unlink = shm_open, shm_unlink
    heap.Arena._dir_candidates = []
