"""Futures as arguments."""

from __future__ import annotations

import importlib
import threading
from concurrent.futures import CancelledError, Future
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.client.connection import Connection
from potluck.client.dependencies import futures_in, resolved
from potluck.client.executor import Executor
from potluck.overlay.wire import control

from .double import Double, double_node
from .test_connection import hold

CHAIN = 3000
"""Longer than Python's stack is deep."""


class Pool(Executor):
    """An executor on a connection that the test made."""

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection


def add(*numbers: int) -> int:
    return sum(numbers)


def total(numbers: list[int] | tuple[int, ...], *, start: int = 0) -> int:
    return sum(numbers, start)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), max_size=4), min_size=1, max_size=30), st.data())
def test_a_graph_of_calls_computes_what_the_calls_do(graph: list[list[int]], data: st.DataObject) -> None:
    """Call `n` adds the results of earlier calls and one; some are given in a list, some as arguments."""
    with double_node() as (_, connection):
        pool = Pool(connection)
        futures: list[Future[int]] = []
        expected: list[int] = []
        for earlier in graph:
            awaited = [number % len(futures) for number in earlier] if futures else []
            given_futures = [futures[number] for number in awaited]
            in_a_list = data.draw(st.booleans())
            futures.append(
                pool.submit(total, given_futures, start=1) if in_a_list else pool.submit(add, 1, *given_futures)
            )
            expected.append(1 + sum(expected[number] for number in awaited))
        assert [future.result(10) for future in futures] == expected
        connection.wait_idle()


def test_futures_are_found_in_arguments_and_in_lists_of_them() -> None:
    one, two, three, deep = (Future[int]() for _ in range(4))
    call: Any = ((1, one, [2, two], "x", [[deep]]), {"k": (three,), "n": 4})
    assert futures_in(*call) == [one, two, three]
    for number, future in enumerate((one, two, three)):
        future.set_result(number)
    assert resolved(call) == ((1, 0, [2, 1], "x", [[deep]]), {"k": (2,), "n": 4})


def test_submit_does_not_wait_and_the_dependant_waits_for_the_slowest() -> None:
    with double_node() as (double, connection):
        pool = Pool(connection)
        slow: Future[int] = Future()
        sum_of_both = pool.submit(add, pool.submit(abs, -1), slow)
        assert not sum_of_both.done()
        assert not connection.is_idle
        slow.set_result(41)
        assert sum_of_both.result(10) == 42
        assert len(double.submitted) == 2


def test_a_failure_passes_down_a_chain_of_any_length() -> None:
    with double_node() as (_, connection):
        pool = Pool(connection)
        first: Future[int] = Future()
        futures = [pool.submit(abs, first)]
        for _ in range(CHAIN):
            futures.append(pool.submit(abs, futures[-1]))
        error = KeyError("first")
        first.set_exception(error)
        assert futures[-1].exception(30) is error
        assert all(future.exception(10) is error for future in futures)
        connection.wait_idle()


def test_the_first_failure_fails_and_the_others_are_not_waited_for() -> None:
    with double_node() as (_, connection):
        never: Future[int] = Future()
        failing: Future[int] = Future()
        future = Pool(connection).submit(add, never, failing)
        failing.set_exception(OSError("no"))
        with pytest.raises(OSError, match="no"):
            future.result(10)
        never.set_result(1)
        connection.wait_idle()


def test_what_awaits_a_cancelled_one_is_cancelled() -> None:
    with double_node() as (double, connection):
        double.on_task = hold
        pool = Pool(connection)
        first = pool.submit(abs, 1)
        second = pool.submit(abs, first)
        assert first.cancel()
        with pytest.raises(CancelledError):
            second.result(10)
        assert second.cancelled()


def test_one_that_awaits_can_be_cancelled_and_is_never_sent() -> None:
    with double_node() as (double, connection):
        pool = Pool(connection)
        never: Future[int] = Future()
        awaiting = pool.submit(abs, never)
        assert awaiting.cancel()
        connection.wait_idle()
        never.set_result(3)
        assert pool.submit(abs, -4).result(10) == 4
        assert len(double.submitted) == 1


def test_those_that_await_fail_with_the_connection() -> None:
    with double_node() as (double, connection):
        pool = Pool(connection)
        awaiting = pool.submit(abs, Future[int]())
        double.stop()
        assert type(awaiting.exception(10)).__name__ == "LinkLost"


def test_modules_imported_meanwhile_go_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "imported_late.py").write_text("class Late:\n    def __len__(self): return 7\n")
    monkeypatch.syspath_prepend(tmp_path)
    with double_node() as (double, connection):
        awaited: Future[object] = Future()
        length = Pool(connection).submit(len, awaited)
        awaited.set_result(importlib.import_module("imported_late").Late())
        assert length.result(10) == 7
        double.wait_for(lambda: any(submit.tasks for submit in submits(double)))
        (submit,) = (submit for submit in submits(double) if submit.tasks)
        sent = {each.program.file_name: each.program.program_id for each in submits(double) if not each.tasks}
        assert sent["imported_late"] in submit.program.libraries


def submits(double: Double) -> list[control.Submit]:
    return [message for message in double.received if isinstance(message, control.Submit)]


def test_a_future_deeper_inside_is_refused_by_name() -> None:
    with double_node() as (_, connection):
        pool = Pool(connection)
        done = pool.submit(abs, 1)
        with pytest.raises(TypeError, match="a future travels only"):
            pool.submit(len, {"deep": [done]}).result(10)
        with pytest.raises(TypeError, match="an Executor belongs"):
            pool.submit(id, pool).result(10)


def test_what_is_awaited_may_end_in_many_threads_at_once() -> None:
    with double_node() as (double, connection):
        pool = Pool(connection)
        sources = [Future[int]() for _ in range(8)]
        sums = [pool.submit(total, sources) for _ in range(50)]
        threads = [threading.Thread(target=source.set_result, args=(1,)) for source in sources]
        for thread in threads:
            thread.start()
        assert [future.result(10) for future in sums] == [8] * 50
        for thread in threads:
            thread.join()
        assert len(double.submitted) == 50
