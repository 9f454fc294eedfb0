"""`Executor.map`: results in order, inputs taken as needed, short calls put together."""

from __future__ import annotations

import itertools
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ..overlay.wire.raised import raised_of
from .chunks import Chunk
from .futures import TaskFuture
from .options import Optioned
from .outcomes import RemoteTraceback, failed, rebuilt

R = TypeVar("R")

TASKS_MAX: Final = 1024
"""Submitted and not yet taken."""
BYTES_MAX: Final = 64 << 20
"""Of arguments submitted and not yet taken; one task may exceed it."""
CHUNK_S: Final = 0.05
"""Long enough that a task's overhead (some ten microseconds) vanishes, short enough that the load stays even."""
CHUNK_ITEMS_MAX: Final = 4096
CHUNK_BYTES_MAX: Final = 1 << 20
GROWTH_MAX: Final = 8
"""A few quick calls at the start may not be typical."""


class ChunkSizer:
    """How many calls make a task, by how long they took so far. `fixed` 0: by measurement."""

    def __init__(self, fixed: int) -> None:
        if fixed < 0:
            raise ValueError("chunksize must be >= 0")
        self.size = fixed or 1
        self._fixed = fixed > 0
        self._item_s = 0.0
        self._item_bytes = 0.0

    def observe(self, items: int, elapsed_s: float, size_bytes: int) -> None:
        if self._fixed:
            return
        weight = 0.25 if self._item_s else 1.0
        self._item_s += weight * (max(elapsed_s, 1e-9) / items - self._item_s)
        self._item_bytes += weight * (size_bytes / items - self._item_bytes)
        affordable = min(CHUNK_S / self._item_s, CHUNK_BYTES_MAX / max(self._item_bytes, 1.0), CHUNK_ITEMS_MAX)
        self.size = max(1, min(int(affordable), items * GROWTH_MAX))


class _Source(NamedTuple):
    """Where further tasks come from."""

    submit: Callable[..., Any]
    function: Callable[..., Any]
    chunk: Callable[..., Any]
    inputs: Iterator[tuple[Any, ...]]


class Mapping(Iterator[R], Generic[R]):
    """One call of `map`. Belongs to the thread that iterates; only `_on_done` runs in the connection's."""

    def __init__(
        self,
        submit: Callable[..., Any],
        function: Callable[..., R],
        inputs: Iterator[tuple[Any, ...]],
        *,
        timeout_s: float | None,
        sizer: ChunkSizer,
        buffersize: int | None,
    ) -> None:
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        self._source: _Source | None = _Source(submit, function, _chunked(function), inputs)
        """None once the inputs are exhausted: what only further tasks would need, the executor too, is let go."""
        self._deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
        self._sizer = sizer
        self._items_max = buffersize
        self._begun = False
        self._outstanding: deque[tuple[TaskFuture, int, bool]] = deque()
        self._items = self._bytes = 0
        self._ready: deque[R] = deque()
        self._error: BaseException | None = None
        self._running = 0
        self._progress = threading.Condition()
        self._fill()

    def __iter__(self) -> Mapping[R]:
        return self

    def __next__(self) -> R:
        self._begun = True
        while not self._ready:
            if self._error is not None:
                error, self._error = self._error, None
                self.close()
                raise error
            self._fill()
            if not self._outstanding:
                raise StopIteration
            self._take()
        return self._ready.popleft()

    def close(self) -> None:
        """Cancels what is not taken yet."""
        self._source = None
        while self._outstanding:
            self._outstanding.pop()[0].cancel()

    def __del__(self) -> None:
        # Like the standard executors' generator: results that nobody came for are left to run.
        if self.__dict__.get("_begun"):
            self.close()

    def _fill(self) -> bool:
        """Submits what the window has room for; says whether that was anything."""
        submitted = False
        while (source := self._source) is not None and self._has_room():
            size = self._sizer.size if self._items_max is None else min(self._sizer.size, self._items_max - self._items)
            items = list(itertools.islice(source.inputs, size))
            if len(items) < size:
                self._source = None
            if not items:
                break
            submitted = True
            self._submit(source, items)
        return submitted

    def _submit(self, source: _Source, items: list[tuple[Any, ...]]) -> None:
        whole = len(items) > 1
        future = source.submit(source.chunk, items) if whole else source.submit(source.function, *items[0])
        self._outstanding.append((future, len(items), whole))
        self._items += len(items)
        self._bytes += future.size_bytes
        with self._progress:
            self._running += 1
        future.add_done_callback(lambda done: self._on_done(done, len(items)))

    def _has_room(self) -> bool:
        if not self._outstanding:
            return True
        if len(self._outstanding) >= TASKS_MAX or self._bytes >= BYTES_MAX:
            return False
        return self._items_max is None or self._items < self._items_max

    def _on_done(self, future: TaskFuture, items: int) -> None:
        with self._progress:
            self._running -= 1
            if future.attempts:
                self._sizer.observe(items, future.elapsed_s, future.size_bytes)
            self._progress.notify()

    def _take(self) -> None:
        """Waits for the first outstanding task, submitting more meanwhile, and unpacks it."""
        future, items, whole = self._outstanding[0]
        while not future.done():
            if not self._fill():
                self._wait_progress(future)
        self._outstanding.popleft()
        self._items -= items
        self._bytes -= future.size_bytes
        try:
            result = future.result()
        except StopIteration as error:
            self._error = RuntimeError("a task raised StopIteration")
            self._error.__cause__ = error
        except BaseException as error:  # noqa: BLE001  raised again, to whoever takes results
            self._error = error
        else:
            self._unpack(result, whole)

    def _wait_progress(self, future: TaskFuture) -> None:
        left_s = None if self._deadline_s is None else self._deadline_s - time.monotonic()
        with self._progress:
            before = self._running
            waited = self._progress.wait_for(lambda: future.done() or self._running < before, left_s)
        if not waited and not future.done():
            self.close()
            raise TimeoutError("the results did not come in time")

    def _unpack(self, result: Any, whole: bool) -> None:
        if not whole:
            self._ready.append(result)
            return
        results, failure = result
        self._ready.extend(results)
        if failure is not None:
            raised, traceback = raised_of(failure[0]), failure[1]
            self._error = rebuilt(raised) or failed(raised, traceback)
            self._error.__cause__ = RemoteTraceback(traceback)


def sizer_for(function: object, chunksize: int) -> ChunkSizer:
    """Time-outs and retries are meant for one call: such calls are not put together unless asked."""
    if chunksize == 0 and isinstance(function, Optioned) and function.is_per_call:
        return ChunkSizer(1)
    return ChunkSizer(chunksize)


def _chunked(function: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(function, Optioned):
        return Optioned(Chunk(function.function), function.options)
    return Chunk(function)
