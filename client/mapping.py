"""`Executor.map`: results in order, inputs taken as needed, short calls put together."""

from __future__ import annotations

import functools
import inspect
import itertools
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, Final, Generic, NamedTuple, TypeVar

from ..overlay.errors import Cancelled
from ..overlay.wire import inside
from ..overlay.wire.raised import raised_of
from .chunks import Chunk
from .futures import TaskFuture
from .kinds import Kind
from .options import Optioned, plain
from .outcomes import RemoteTraceback, failed, rebuilt
from .progress import Bar

R = TypeVar("R")

TASKS_MAX: Final = 1024
"""Submitted and not yet taken."""
LONG_TASKS_MAX: Final = 64
"""… where several calls make a task, or nobody has seen yet how many should; more where more run at once."""
BYTES_MAX: Final = 64 << 20
"""Of arguments and results, as far as known, that are submitted and not yet taken; one task may exceed it."""
CHUNK_S: Final = 0.05
"""Long enough that a task's overhead (some ten microseconds) vanishes, short enough that the load stays even."""
CHUNK_ITEMS_MAX: Final = 8192
CHUNK_BYTES_MAX: Final = 1 << 20
GROWTH_MAX: Final = 8
"""Of the calls that were seen so far: a few quick ones at the start may not be typical."""


class ChunkSizer:
    """How many calls make a task, by how long they took so far. `fixed` 0: by measurement."""

    def __init__(self, fixed: int) -> None:
        if not isinstance(fixed, int):
            raise TypeError("chunksize must be an integer")
        if fixed < 0:
            raise ValueError("chunksize must be >= 0")
        self.size = fixed or 1
        self.as_single = self._fixed = fixed > 0
        """Whether tasks are of one call because calls are long, or of as many as was asked for."""
        self._seen = 0
        self._item_s = 0.0
        self._item_bytes = 0.0
        self.result_bytes = 0.0
        """Of one call, so far."""

    def observe(self, items: int, elapsed_s: float, size_bytes: int, result_bytes: int) -> None:
        weight = 0.25 if self._item_s else 1.0
        self.result_bytes += weight * (result_bytes / items - self.result_bytes)
        size_bytes = max(size_bytes, result_bytes)
        self._item_s += weight * (max(elapsed_s, 1e-9) / items - self._item_s)
        self._item_bytes += weight * (size_bytes / items - self._item_bytes)
        if self._fixed:
            return
        self._seen += items
        affordable = min(CHUNK_S / self._item_s, CHUNK_BYTES_MAX / max(self._item_bytes, 1.0), CHUNK_ITEMS_MAX)
        self.as_single = affordable < 2
        self.size = max(1, min(int(affordable), self._seen * GROWTH_MAX))


class Inputs:
    """What a function is mapped over, taken as columns: of one iterable its items as they are, without a tuple each."""

    def __init__(self, iterables: Sequence[Iterable[Any]]) -> None:
        self._is_single = len(iterables) == 1
        self._items: Iterator[Any] = iter(iterables[0]) if self._is_single else zip(*iterables, strict=False)

    def take(self, count: int) -> Sequence[Sequence[Any]]:
        """The next ones, equally many in every column; nothing at the end."""
        items = list(itertools.islice(self._items, count))
        if not items:
            return ()
        return (items,) if self._is_single else tuple(zip(*items, strict=True))


class _Source(NamedTuple):
    """Where further tasks come from."""

    submit: Callable[..., Any]
    function: Callable[..., Any]
    chunk: Callable[..., Any]
    inputs: Inputs


class Window(Generic[R]):
    """The tasks of one `map` that are submitted and not yet taken, in the order of the inputs. Never waits.

    Belongs to whoever takes results; `on_progress(items)` is called in the connection's thread when a task has ended.
    `run_at_once` is how many tasks do so in the mesh, as far as that is known.
    Futures refer to that and to the sizer only, so that a window nobody holds any more goes, and its tasks with it.
    """

    def __init__(
        self,
        submit: Callable[..., Any],
        function: Callable[..., R],
        inputs: Inputs,
        *,
        sizer: ChunkSizer,
        buffersize: int | None,
        on_progress: Callable[[int], None] = lambda _items: None,
        run_at_once: int = 0,
    ) -> None:
        if buffersize is not None and not isinstance(buffersize, int):
            raise TypeError("buffersize must be an integer or None")
        if buffersize is not None and buffersize < 1:
            raise ValueError("buffersize must be None or > 0")
        self._source: _Source | None = _Source(submit, function, _chunked(function), inputs)
        """None once the inputs are exhausted: what only further tasks would need, the executor too, is let go."""
        self._sizer = sizer
        self._items_max = buffersize
        self._long_tasks_max = max(LONG_TASKS_MAX, 4 * run_at_once)
        self._observe = functools.partial(_observe, sizer, on_progress)
        self._outstanding: deque[tuple[TaskFuture, int, bool]] = deque()
        self._items = self._bytes = 0
        self._ready: list[R] = []
        """What `take` gives next."""
        self._error: BaseException | None = None

    def fill(self) -> bool:
        """Submits what there is room for; says whether that was anything."""
        submitted = False
        while (source := self._source) is not None and self._has_room():
            size = self._sizer.size if self._items_max is None else min(self._sizer.size, self._items_max - self._items)
            columns = source.inputs.take(size)
            count = len(columns[0]) if columns else 0
            if count < size:
                self._source = None
            if not count:
                break
            submitted = True
            self._submit(source, columns, count)
        return submitted

    def advance(self) -> bool:
        """Whether `take` has an answer. If not, the first task is being waited for, and any task's end is progress."""
        while not self._ready and self._error is None:
            self.fill()
            if not self._outstanding:
                return True
            if not self._outstanding[0][0].done():
                return False
            self._unpack_first()
        return True

    @property
    def is_empty(self) -> bool:
        """Nothing is left to take, once `advance` was True."""
        return not self._ready and self._error is None

    def take(self) -> list[R]:
        """The next results, at least one; or raises the error in the place of one, after which there is nothing."""
        if self._ready:
            ready, self._ready = self._ready, []
            return ready
        assert self._error is not None
        error, self._error = self._error, None
        self.close()
        raise error

    def close(self, *, kill: bool = False) -> None:
        """Cancels what is not taken yet; with `kill` what runs already, too."""
        self._source = None
        while self._outstanding:
            future = self._outstanding.pop()[0]
            _ = future.kill() if kill else future.cancel()

    def _submit(self, source: _Source, columns: Sequence[Sequence[Any]], count: int) -> None:
        if count > 1:
            future = source.submit(source.chunk, *columns)
        else:
            future = source.submit(source.function, *(column[0] for column in columns))
        self._outstanding.append((future, count, count > 1))
        self._items += count
        self._bytes += future.size_bytes
        future.add_done_callback(functools.partial(self._observe, count))

    def _has_room(self) -> bool:
        if not self._outstanding:
            return True
        if len(self._outstanding) >= (TASKS_MAX if self._sizer.as_single else self._long_tasks_max):
            return False
        if self._bytes + self._items * self._sizer.result_bytes >= BYTES_MAX:
            return False
        return self._items_max is None or self._items < self._items_max

    def _unpack_first(self) -> None:
        future, items, whole = self._outstanding.popleft()
        self._items -= items
        self._bytes -= future.size_bytes
        try:
            result = future.result()
        except BaseException as error:  # noqa: BLE001  raised again, to whoever takes results
            self._error = _as_no_end(error)
        else:
            self._unpack(result, whole)

    def _unpack(self, result: Any, whole: bool) -> None:
        if not whole:
            self._ready = [result]
            return
        results, failure = result
        self._ready = list(results)
        if failure is not None:
            raised, traceback = raised_of(failure[0]), failure[1]
            error = rebuilt(raised) or failed(raised, traceback)
            error.__cause__ = RemoteTraceback(traceback)
            self._error = _as_no_end(error)


def _as_no_end(error: BaseException) -> BaseException:
    """An iterator that raises StopIteration says that it is exhausted, and no more."""
    if not isinstance(error, StopIteration):
        return error
    instead = RuntimeError("a task raised StopIteration")
    instead.__cause__ = error
    return instead


def _observe(sizer: ChunkSizer, on_progress: Callable[[int], None], items: int, done: Future[Any]) -> None:
    assert isinstance(done, TaskFuture)
    if done.attempts:
        sizer.observe(items, done.elapsed_s, done.size_bytes, done.result_bytes)
    was_cancelled = done.cancelled() or isinstance(done.exception(), Cancelled)
    on_progress(0 if was_cancelled else items)


class Pulse:
    """Beats when a task ends, in whatever thread; what somebody waits for who waits for results."""

    def __init__(self, bar: Bar | None = None) -> None:
        self.beats = 0
        self._bar = bar
        self._condition = threading.Condition()

    def beat(self, items: int) -> None:
        with self._condition:
            self.beats += 1
            self._condition.notify()
        if self._bar is not None:
            self._bar.advance(items)

    def wait_beyond(self, beats: int, timeout_s: float | None) -> bool:
        """Until there were more than `beats`; False when that took too long."""
        with inside.pausing(), self._condition:
            return self._condition.wait_for(lambda: self.beats > beats, timeout_s)

    def end(self) -> None:
        if self._bar is not None:
            self._bar.end()


class Mapping(Iterator[R]):
    """One call of `map`, whose iterator waits. Made by `mapping`.

    It is iterated by its generator, which goes through one task's results after another without a call of ours for each
    of them, and lets a second thread know that the first one is at it.
    """

    def __init__(self, window: Window[R], pulse: Pulse, results: Generator[R, None, None]) -> None:
        self._window = window
        self._pulse = pulse
        self._results = results
        weakref.finalize(results, pulse.end)  # a generator that never began has no end of its own

    def __iter__(self) -> Iterator[R]:
        return self._results

    def __next__(self) -> R:
        return next(self._results)

    def close(self) -> None:
        """Cancels what is not taken yet."""
        self._window.close()
        self._pulse.end()


def mapping(window: Window[R], pulse: Pulse, *, timeout_s: float | None = None) -> Mapping[R]:
    """The first tasks are submitted now, and from now on time runs."""
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    window.fill()
    return Mapping(window, pulse, _results(window, pulse, deadline_s))


def _results(window: Window[R], pulse: Pulse, deadline_s: float | None) -> Generator[R, None, None]:
    """Like the standard executors': what nobody came for is left to run, and what nobody comes for any more is
    cancelled."""
    try:
        while True:
            beats = pulse.beats
            while not window.advance():
                left_s = None if deadline_s is None else deadline_s - time.monotonic()
                if not pulse.wait_beyond(beats, left_s):
                    raise TimeoutError("the results did not come in time")
                beats = pulse.beats
            if window.is_empty:
                return
            yield from _given_away(window.take())
    finally:
        window.close()
        pulse.end()


def _given_away(results: list[R]) -> Iterator[R]:
    """In order, and none is held any longer: whoever takes it may have it alone."""
    results.reverse()
    return map(results.pop, itertools.repeat(-1, len(results)))


def sizer_for(function: Callable[..., Any], chunksize: int) -> ChunkSizer:
    """Time-outs, limits and the like are meant for one call: such calls are not put together unless asked. What nodes
    have handlers for, what steps through a generator, what is tried again when it fails and what is never begun twice
    never are: those are calls that a node sees."""
    called = plain(function)
    if isinstance(called, Kind) or inspect.isgeneratorfunction(called):
        return ChunkSizer(1)
    if isinstance(function, Optioned):
        options = function.options
        if options.error_retries or options.at_most_once or (chunksize == 0 and function.is_per_call):
            return ChunkSizer(1)
    return ChunkSizer(chunksize)


def _chunked(function: Callable[..., Any]) -> Callable[..., Any]:
    if isinstance(function, Optioned):
        return Optioned(Chunk(function.function), function.options, function.setting)
    return Chunk(function)
