"""`potluck.AsyncExecutor` on real nodes."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Iterator

import potluck
import pytest
import trio
from potluck.client.asynchronous import AsyncExecutor

from ..verbs.mesh import Mesh, mesh

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("pair"), ["ant", "bee"]) as made:
        yield made


def sleep(duration_s: float) -> float:
    time.sleep(duration_s)
    return duration_s


def fail(number: int) -> int:
    raise KeyError(number)


def test_calls_have_their_results_and_errors_without_a_thread_each(pair: Mesh) -> None:
    results: dict[int, int] = {}

    async def one(pool: AsyncExecutor, number: int) -> None:
        results[number] = await pool.run(pow, number, 2)

    async def main() -> None:
        async with AsyncExecutor(surroundings=pair.surroundings) as pool:
            async with trio.open_nursery() as nursery:
                for number in range(200):
                    nursery.start_soon(one, pool, number)
                threads = threading.active_count()
            with pytest.raises(KeyError):
                await pool.run(fail, 3)
            assert threads < 10

    trio.run(main)
    assert results == {number: number**2 for number in range(200)}


def test_a_cancelled_scope_ends_the_task_where_it_runs(pair: Mesh) -> None:
    async def main() -> None:
        async with AsyncExecutor(surroundings=pair.surroundings) as pool:
            assert await pool.run(abs, -1) == 1
            with trio.move_on_after(0.5) as scope:
                await pool.run(sleep, 60)
            assert scope.cancelled_caught
            with trio.fail_after(30):
                both = [potluck.options(on=name)(abs) for name in ("ant", "bee")]
                assert [await pool.run(each, -2) for each in both] == [2, 2], "both slots are free again"

    trio.run(main)


def test_map_is_iterated_in_order_over_endless_inputs(pair: Mesh) -> None:
    found: list[int] = []

    async def main() -> None:
        async with AsyncExecutor(surroundings=pair.surroundings) as pool:
            async for result in pool.map(pow, itertools.count(), itertools.repeat(2)):
                found.append(result)
                if len(found) == 3000:
                    break
            assert [number async for number in pool.map(abs, [])] == []

    trio.run(main)
    assert found == [number**2 for number in range(3000)]


def test_an_error_ends_a_map_after_the_results_before_it(pair: Mesh) -> None:
    def check(number: int) -> int:
        if number == 5:
            raise KeyError(number)
        return number

    async def main() -> None:
        async with AsyncExecutor(surroundings=pair.surroundings) as pool:
            results = pool.map(check, range(10))
            found = []
            with pytest.raises(KeyError):
                async for result in results:
                    found.append(result)
            assert found == [0, 1, 2, 3, 4]
            assert [each async for each in results] == []

    trio.run(main)


def test_a_map_that_is_cancelled_kills_what_runs(pair: Mesh) -> None:
    async def main() -> None:
        async with AsyncExecutor(surroundings=pair.surroundings) as pool:
            with trio.move_on_after(1):
                async for _ in pool.map(sleep, itertools.repeat(60)):
                    pass
            with trio.fail_after(30):
                assert await pool.run(abs, -2) == 2

    trio.run(main)


def test_it_is_entered_first_and_a_wrong_node_is_named(pair: Mesh) -> None:
    async def main() -> None:
        with pytest.raises(RuntimeError, match="async with"):
            await AsyncExecutor().run(abs, 1)
        with pytest.raises(potluck.NoNode, match="'else'"):
            async with AsyncExecutor("else", surroundings=pair.surroundings):
                pass

    trio.run(main)


def test_leaving_by_an_error_waits_for_nothing(pair: Mesh) -> None:
    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with AsyncExecutor(surroundings=pair.surroundings) as pool, trio.open_nursery() as nursery:
                nursery.start_soon(pool.run, sleep, 60)
                assert await pool.run(abs, -1) == 1
                raise OSError("the program's own")

    began_s = time.monotonic()
    trio.run(main)
    assert time.monotonic() - began_s < 30
