"""A task's future is a concurrent.futures.Future in everything but its lock."""

from __future__ import annotations

import threading
from concurrent.futures import FIRST_COMPLETED, Future, as_completed, wait

import pytest
from potluck.client.futures import cancel
from potluck.overlay.wire.control import JobOptions

from .double import double_node
from .test_connection import PACKER, call, hold


def test_it_has_what_the_standard_future_has() -> None:
    with double_node() as (_, connection):
        ours = call(connection.open_job(JobOptions()), PACKER.body(abs), 1)
        assert set(vars(Future())) <= set(vars(ours))


def test_it_can_be_waited_for_in_every_standard_way() -> None:
    with double_node() as (_, connection):
        job = connection.open_job(JobOptions())
        futures = [call(job, PACKER.body(abs), -number) for number in range(50)]
        assert {future.result() for future in as_completed(futures, timeout=10)} == set(range(50))
        assert wait(futures, 10).not_done == set()
        assert call(job, PACKER.body(abs), -9).exception(10) is None


def test_many_threads_may_wait_for_one_and_time_out_alone() -> None:
    with double_node() as (double, connection):
        double.on_task = hold
        future = call(connection.open_job(JobOptions()), PACKER.body(abs), -3)
        found: list[int] = []
        threads = [threading.Thread(target=lambda: found.append(future.result(10))) for _ in range(4)]
        for thread in threads:
            thread.start()
        with pytest.raises(TimeoutError):
            future.result(0.01)
        assert wait([future], 0.01, FIRST_COMPLETED).not_done == {future}
        double.wait_for(lambda: bool(double.submitted))
        double.run(*double.submitted[0])
        for thread in threads:
            thread.join(10)
        assert found == [3] * 4


def test_only_futures_of_ours_can_be_killed() -> None:
    with pytest.raises(TypeError):
        cancel(Future())
