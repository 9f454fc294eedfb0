"""`map`, on a submit that runs tasks as the test wishes."""

from __future__ import annotations

import inspect
import itertools
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.futures import Job, TaskFuture
from potluck.client.mapping import (
    BYTES_MAX,
    CHUNK_ITEMS_MAX,
    GROWTH_MAX,
    LONG_TASKS_MAX,
    TASKS_MAX,
    ChunkSizer,
    Inputs,
    Mapping,
    Pulse,
    Window,
    mapping,
    sizer_for,
)
from potluck.client.options import options
from potluck.client.programs import body_of
from potluck.overlay.wire.control import JobOptions
from potluck.overlay.wire.work import Inline

BODY = body_of("callable", b"")


class Submitted:
    """Collects tasks; `finish` runs the oldest ones."""

    def __init__(self, *, at_once: bool = True) -> None:
        self.at_once = at_once
        self.waiting: list[tuple[TaskFuture, Callable[..., Any], tuple[Any, ...]]] = []
        self.calls = 0

    def __call__(self, function: Callable[..., Any], *args: Any) -> TaskFuture:
        self.calls += 1
        future = TaskFuture(Job(Withdrawals(), JobOptions()), BODY, Inline(bytes(10)))  # type: ignore[arg-type]
        self.waiting.append((future, function, args))
        if self.at_once:
            self.finish()
        return future

    def finish(self) -> None:
        waiting, self.waiting = self.waiting, []
        for future, function, args in waiting:
            future.attempts, future.elapsed_s = 1, 1e-6
            try:
                future.set_result(function(*args))
            except Exception as error:  # noqa: BLE001
                future.set_exception(error)


def mapped(submit: Submitted, function: Callable[..., Any], *inputs: Any, **settings: Any) -> Mapping[Any]:
    timeout_s = settings.pop("timeout_s", None)
    pulse = Pulse(settings.pop("bar", None))
    wanted: dict[str, Any] = {"sizer": ChunkSizer(0), "buffersize": None, "on_progress": pulse.beat, **settings}
    return mapping(Window(submit, function, Inputs(inputs), **wanted), pulse, timeout_s=timeout_s)


@given(st.lists(st.integers()), st.integers(0, 7), st.none() | st.integers(1, 9))
def test_map_is_map(inputs: list[int], chunksize: int, buffersize: int | None) -> None:
    found = mapped(Submitted(), abs, inputs, sizer=ChunkSizer(chunksize), buffersize=buffersize)
    assert list(found) == list(map(abs, inputs))


@given(st.lists(st.tuples(st.integers(), st.integers())), st.integers(0, 7))
def test_map_of_several_iterables_is_map(inputs: list[tuple[int, int]], chunksize: int) -> None:
    columns = list(zip(*inputs, strict=True)) or [(), ()]
    found = mapped(Submitted(), max, *columns, sizer=ChunkSizer(chunksize))
    assert list(found) == list(map(max, *columns))


@pytest.mark.parametrize(("chunksize", "buffersize"), [("a", None), (1.5, None), (0, 1.5), (0, "a")])
def test_sizes_that_are_no_integers_are_refused_as_such(chunksize: Any, buffersize: Any) -> None:
    with pytest.raises(TypeError, match="must be an integer"):
        mapped(Submitted(), abs, [1], sizer=ChunkSizer(chunksize), buffersize=buffersize)


@pytest.mark.parametrize("chunksize", [1, 5])
def test_a_call_that_raises_stop_iteration_ends_no_results(chunksize: int) -> None:
    def stop(number: int) -> int:
        if number == 3:
            raise StopIteration
        return number

    results = mapped(Submitted(), stop, range(9), sizer=ChunkSizer(chunksize))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RuntimeError, match="StopIteration"):
        next(results)
    assert list(results) == []


def test_whoever_takes_results_takes_from_the_same() -> None:
    results = mapped(Submitted(), abs, range(100), sizer=ChunkSizer(7))
    found = []
    for number, result in enumerate(results):
        found.append(result)
        if number % 3 == 0:
            found.append(next(results))
    assert found == list(range(100))


def test_a_second_thread_is_turned_away_and_the_first_loses_nothing() -> None:
    submit, found = Submitted(at_once=False), list[int]()
    results = mapped(submit, abs, range(20), sizer=ChunkSizer(1))
    first = threading.Thread(target=lambda: found.extend(results))
    first.start()
    until_s = time.monotonic() + 30
    while inspect.getgeneratorstate(iter(results)) != inspect.GEN_RUNNING:  # type: ignore[arg-type]
        assert time.monotonic() < until_s
    with pytest.raises(ValueError, match="already executing"):
        next(results)
    submit.finish()
    first.join(30)
    assert found == list(range(20))


class Counted:
    """A bar."""

    count = 0

    def advance(self, items: int) -> None:
        self.count += items

    def end(self) -> None:
        self.ended = True

    ended = False


def test_a_map_that_nobody_takes_anything_of_ends_its_bar() -> None:
    for leave in (lambda results: None, iter, lambda results: list(zip([], results, strict=False))):
        bar = Counted()
        results = mapped(Submitted(), abs, range(20), bar=bar)
        leave(results)
        assert not bar.ended
        del results
        assert bar.ended


def test_what_was_cancelled_is_no_progress() -> None:
    submit, bar = Submitted(at_once=False), Counted()
    results = mapped(submit, abs, range(20), sizer=ChunkSizer(1), bar=bar)
    submit.waiting, left = submit.waiting[:5], submit.waiting[5:]
    submit.finish()
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    results.close()
    assert left and all(future.cancelled() for future, _, _ in left)
    assert bar.count == 5


def test_endless_inputs_are_taken_as_needed() -> None:
    submit = Submitted()
    taken = itertools.count()
    results = mapped(submit, abs, taken)
    assert submit.calls == LONG_TASKS_MAX
    assert list(itertools.islice(results, 50_000)) == list(range(50_000))
    assert submit.calls < 100, "quick calls are put together"
    assert next(taken) < 50_000 + LONG_TASKS_MAX * CHUNK_ITEMS_MAX


@pytest.mark.parametrize(("run_at_once", "at_first"), [(0, LONG_TASKS_MAX), (250, 1000)])
def test_few_tasks_go_out_until_it_is_known_how_long_calls_take(run_at_once: int, at_first: int) -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, itertools.count(), run_at_once=run_at_once)
    assert submit.calls == at_first
    results.close()


def test_long_calls_fill_the_whole_window_once_one_was_seen() -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, itertools.count())
    for future, _, _ in submit.waiting[:2]:
        future.attempts, future.elapsed_s = 1, 10.0
        future.set_result(0)
    assert [next(results), next(results)] == [0, 0]
    assert submit.calls == TASKS_MAX + 1


def test_many_short_calls_are_few_tasks() -> None:
    submit = Submitted()
    assert sum(1 for _ in mapped(submit, abs, range(100_000))) == 100_000
    assert submit.calls < 50


def test_buffersize_bounds_the_inputs_taken() -> None:
    taken = itertools.count()
    results = mapped(Submitted(), abs, taken, buffersize=5)
    assert next(taken) == 5
    assert next(results) == 0
    next(results)
    assert next(taken) <= 5 + 4


@given(st.integers(1, 50), st.integers(0, 49), st.integers(1, 60))
def test_results_before_the_first_failure_are_not_lost(count: int, bad: int, chunksize: int) -> None:
    def check(number: int) -> int:
        if number == bad:
            raise KeyError(number)
        return number

    results = mapped(Submitted(), check, range(count), sizer=ChunkSizer(chunksize))
    found = []
    try:
        for result in results:
            found.append(result)
    except KeyError as error:
        assert error.args == (bad,)
    assert found == list(range(min(bad, count)))
    assert list(results) == []


@pytest.mark.parametrize("chunksize", [1, 4])
def test_a_result_that_was_taken_is_held_by_nobody_else(chunksize: int) -> None:
    results = mapped(Submitted(), lambda number: {number}, range(10), sizer=ChunkSizer(chunksize))
    for result in results:
        seen = weakref.ref(result)
        del result
        assert seen() is None


def test_time_runs_from_the_call() -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, [1, 2], timeout_s=0.05)
    futures = [future for future, _, _ in submit.waiting]
    with pytest.raises(TimeoutError):
        next(results)
    assert all(future.cancelled() for future in futures)


class Withdrawals:
    def __init__(self) -> None:
        self.futures_lock = threading.RLock()

    def withdraw(self, future: TaskFuture) -> None:
        pass


def test_results_nobody_came_for_are_left_to_run() -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, [1, 2])
    del results
    assert not any(future.cancelled() for future, _, _ in submit.waiting)


def test_results_nobody_comes_for_any_more_are_cancelled() -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, range(5), sizer=ChunkSizer(1))
    futures = [future for future, _, _ in submit.waiting]
    futures[0].set_result(0)
    assert next(results) == 0
    del results
    assert all(future.cancelled() for future in futures[1:])


def test_long_results_narrow_the_window() -> None:
    submit = Submitted(at_once=False)
    results = mapped(submit, abs, itertools.count(), sizer=ChunkSizer(1))
    assert submit.calls == TASKS_MAX
    for future, _, _ in submit.waiting:
        future.attempts, future.elapsed_s, future.result_bytes = 1, 1.0, BYTES_MAX // 10
        future.set_result(0)
    for _ in range(TASKS_MAX):
        next(results)
    assert submit.calls - TASKS_MAX < 15


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0, 10), st.integers(0, 1 << 20)), max_size=30))
def test_chunks_stay_within_their_bounds(seen: list[tuple[int, float, int]]) -> None:
    sizer = ChunkSizer(0)
    calls = 0
    for items, elapsed_s, size_bytes in seen:
        calls += items
        sizer.observe(items, elapsed_s, size_bytes, size_bytes // 2)
        assert 1 <= sizer.size <= min(CHUNK_ITEMS_MAX, calls * GROWTH_MAX)


def test_calls_with_a_time_limit_are_not_put_together() -> None:
    sizer = sizer_for(options(timeout=1)(abs), 0)
    sizer.observe(1, 1e-9, 1, 1)
    assert sizer.size == 1
