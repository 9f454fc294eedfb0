"""What a future is waited for with. Futures of one connection share a lock instead of having one each.

A program may hold a hundred thousand futures at once. A `threading.Condition` is nine objects that the garbage
collector visits again and again, which was half of the time a task took here; this is one.
"""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Any

from ..overlay.wire import inside


class SharedCondition:
    """As much of `threading.Condition` as concurrent.futures asks of one. `lock` is a `threading.RLock`."""

    __slots__ = ("_condition", "_lock")

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._condition: threading.Condition | None = None

    def acquire(self) -> None:
        self._lock.acquire()

    def release(self) -> None:
        self._lock.release()

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        """The lock must be held; made into a real condition only for a future that somebody waits for."""
        if self._condition is None:
            self._condition = threading.Condition(self._lock)
        with inside.pausing():
            return self._condition.wait(timeout)

    def notify_all(self) -> None:
        if self._condition is not None:
            self._condition.notify_all()


class Waiters(list[Any]):
    """Of a future inside a task. `concurrent.futures.wait` and `as_completed` wait with an event of their own making,
    which knows nothing of slots: here it becomes one that does. They let it be seen before anybody could set it."""

    def append(self, waiter: Any) -> None:
        if not isinstance(waiter.event, PausingEvent):
            waiter.event = PausingEvent()
        super().append(waiter)


class PausingEvent(threading.Event):
    """The task has no slot while it waits for this."""

    def wait(self, timeout: float | None = None) -> bool:
        if self.is_set():
            return True
        with inside.pausing():
            return super().wait(timeout)
