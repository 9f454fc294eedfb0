"""Streams larger than memory, and many threads at one pool."""

from __future__ import annotations

import concurrent.futures
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import potluck
import pytest
from potluck.client.executor import Executor

from ..verbs.mesh import Mesh, mesh
from .test_executor import program

pytestmark = pytest.mark.processes

STREAM_MIB = 256
GROWTH_MIB_MAX = 160
THREADS = 8
CALLS = 300


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("pair"), ["ant", "bee"]) as made:
        yield made


@pytest.mark.parametrize(("given_bytes", "returned_bytes"), [(100_000, 10), (10, 100_000)], ids=["in", "out"])
def test_a_stream_larger_than_memory_takes_little_of_it(tmp_path: Path, given_bytes: int, returned_bytes: int) -> None:
    process = program(
        tmp_path,
        f"""
        import itertools, os, psutil, potluck

        def work(data, size):
            return bytes(size)

        def memory_mib():
            return psutil.Process().memory_info().rss >> 20

        with potluck.Executor() as pool:
            pool.submit(work, b"", 1).result()
            before = most = memory_mib()
            inputs = (os.urandom({given_bytes}) for _ in itertools.count())
            taken = 0
            for result in pool.map(work, inputs, itertools.repeat({returned_bytes})):
                taken += {given_bytes} + len(result)
                most = max(most, memory_mib())
                if taken > {STREAM_MIB} << 20:
                    break
            print(most - before)
        """,
    )
    out, err = process.communicate(timeout=100)
    assert err == ""
    assert int(out) < GROWTH_MIB_MAX


def test_many_threads_submit_map_cancel_and_wait_at_once(pair: Mesh) -> None:
    faults: list[BaseException] = []
    called: list[int] = []

    def use(pool: Executor, seed: int) -> None:
        chance = random.Random(seed)
        try:
            futures = [pool.submit(pow, number, 2) for number in range(CALLS)]
            for future in futures:
                future.add_done_callback(lambda _done: called.append(1))
            cancelled = {future for future in chance.sample(futures, CALLS // 10) if potluck.cancel(future)}
            assert list(pool.map(abs, range(-CALLS, 0))) == list(range(CALLS, 0, -1))
            sums = pool.submit(sum, [future for future in futures if future not in cancelled])
            done, left = concurrent.futures.wait(futures, 60)
            assert not left
            kept = [number for number, future in enumerate(futures) if future not in cancelled]
            assert all(futures[number].result() == number**2 for number in kept)
            assert sums.result(60) == sum(number**2 for number in kept)
            assert set(concurrent.futures.as_completed(futures, 10)) == done
        except BaseException as error:  # noqa: BLE001  told by the main thread
            faults.append(error)

    with Executor(surroundings=pair.surroundings) as pool:
        threads = [threading.Thread(target=use, args=(pool, seed)) for seed in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(100)
    assert not faults
    assert len(called) == THREADS * CALLS


def test_callbacks_come_in_the_order_they_were_added_and_may_submit(pair: Mesh) -> None:
    order: list[int] = []
    chained: concurrent.futures.Future[int] = concurrent.futures.Future()
    with Executor(surroundings=pair.surroundings) as pool:
        future = pool.submit(abs, -1)
        for number in range(10):
            future.add_done_callback(lambda _done, number=number: order.append(number))
        future.add_done_callback(lambda _done: pool.submit(abs, -2).add_done_callback(chained_to(chained)))
        assert chained.result(30) == 2
    assert order == list(range(10))


def chained_to(target: concurrent.futures.Future[int]) -> object:
    return lambda done: target.set_result(done.result())


def test_a_group_of_errors_is_caught_by_its_parts(pair: Mesh) -> None:
    def work() -> None:
        error = ExceptionGroup("two", [KeyError("k"), ValueError("v")])
        error.add_note("in the rain")
        raise error

    caught: list[BaseException] = []
    with Executor(surroundings=pair.surroundings) as pool:
        try:
            pool.submit(work).result(30)
        except* KeyError as group:
            caught += group.exceptions
            assert group.__notes__ == ["in the rain"]
        except* ValueError as group:
            caught += group.exceptions
    assert [repr(error) for error in caught] == ["KeyError('k')", "ValueError('v')"]
