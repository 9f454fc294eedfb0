"""Futures as arguments: a task given futures is sent once they have results, which then stand in their places.

    all awaited have results           sent, with the results
    one of them failed                 fails at once, with the same error
    one of them was cancelled          cancelled
    cancelled itself                   never sent; what it awaited runs on

The results pass through this program on their way from one task to the next.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any, Final

from .futures import TaskFuture

Call = tuple[tuple[Any, ...], dict[str, Any]]


_SCALARS: Final[frozenset[type]] = frozenset({int, float, str, bytes, bool, type(None)})
"""Most calls have nothing else for arguments, and are spared the longer look."""


def futures_in(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Sequence[Future[Any]]:
    """Among the arguments themselves, and in those that are lists or tuples; not deeper."""
    if not kwargs and _SCALARS.issuperset(map(type, args)):
        return ()
    found: list[Future[Any]] = []
    for value in (*args, *kwargs.values()):
        if isinstance(value, Future):
            found.append(value)
        elif type(value) in (list, tuple) and any(issubclass(kind, Future) for kind in set(map(type, value))):
            found += [each for each in value if isinstance(each, Future)]
    return found


def resolved(call: Call) -> Call:
    """With results where there were futures, all of which are done and none of which failed."""
    args, kwargs = call
    return tuple(map(_resolved, args)), {name: _resolved(value) for name, value in kwargs.items()}


def _resolved(value: Any) -> Any:
    if isinstance(value, Future):
        return value.result()
    if type(value) in (list, tuple):
        return type(value)(each.result() if isinstance(each, Future) else each for each in value)
    return value


class Turns:
    """Runs what is due one after the other: a failure that passes down a long chain is no deep recursion."""

    def __init__(self) -> None:
        self._due: deque[Callable[[], None]] = deque()
        self._running = threading.Lock()

    def take(self, step: Callable[[], None]) -> None:
        """Runs `step` here, or leaves it to whoever is running others, in this thread further up or in another."""
        self._due.append(step)
        while self._due and self._running.acquire(blocking=False):
            try:
                while self._due:
                    self._due.popleft()()
            finally:
                self._running.release()


def when_done(awaited: Sequence[Future[Any]], dependant: TaskFuture, send: Callable[[], None], turns: Turns) -> None:
    """Calls `send` when all have results, once; or ends the dependant as the table says."""
    left = set(awaited)
    lock = threading.Lock()

    def settle(done: Future[Any]) -> None:
        if done.cancelled():
            dependant.cancel()
        elif (error := done.exception()) is not None:
            dependant.fail(error)
        elif not dependant.done():
            send()

    def on_done(done: Future[Any]) -> None:
        with lock:
            left.discard(done)
            is_last = not left
        if is_last or done.cancelled() or done.exception() is not None:
            turns.take(lambda: settle(done))

    for future in set(awaited):
        future.add_done_callback(on_done)
