"""Virtual time moves only while everybody waits, and to whatever comes first."""

from __future__ import annotations

import time
from functools import partial

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.simulations import determinism
from potluck.simulations.timeline import timeline

TIMES = st.lists(st.tuples(st.integers(0, 20), st.booleans()), max_size=30)


@settings(max_examples=50, deadline=None)
@given(TIMES)
def test_calls_and_sleepers_come_in_the_order_of_their_times(times: list[tuple[int, bool]]) -> None:
    seen: list[float] = []

    async def main() -> None:
        async def sleep(until_s: float) -> None:
            await trio.sleep_until(until_s)
            seen.append(trio.current_time())

        async with trio.open_nursery() as nursery:
            for at_s, sleeps in times:
                if sleeps:
                    nursery.start_soon(sleep, float(at_s))
                else:
                    timeline().at(float(at_s), lambda: seen.append(trio.current_time()))
            await trio.sleep_until(21)

    determinism.run(main, seed=1)
    assert seen == sorted(float(at_s) for at_s, _ in times)


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), max_size=30))
def test_calls_at_one_time_come_by_rank_and_then_as_they_were_asked_for(calls: list[tuple[int, int]]) -> None:
    seen: list[tuple[int, int, int]] = []

    async def main() -> None:
        for number, (at_s, rank) in enumerate(calls):
            timeline().at(float(at_s), partial(seen.append, (at_s, rank, number)), float(rank))
        await trio.sleep_until(4)

    determinism.run(main, seed=1)
    assert seen == sorted((at_s, rank, number) for number, (at_s, rank) in enumerate(calls))


def test_years_pass_in_no_time_and_work_takes_none() -> None:
    async def main() -> float:
        began_s = trio.current_time()
        for _ in range(1000):
            await trio.lowlevel.checkpoint()
        assert trio.current_time() == began_s
        await trio.sleep_until(1e8)
        return trio.current_time()

    began_s = time.perf_counter()
    assert determinism.run(main, seed=1) == 1e8
    assert time.perf_counter() - began_s < 10


def test_a_call_wakes_a_task_at_its_time() -> None:
    async def main() -> None:
        event = trio.Event()
        timeline().at(5.0, event.set)
        await event.wait()
        assert trio.current_time() == 5.0

    determinism.run(main, seed=1)


def test_what_is_late_already_happens_at_once() -> None:
    async def main() -> None:
        await trio.sleep(3)
        event = trio.Event()
        timeline().at(1.0, event.set)
        await event.wait()
        assert trio.current_time() == 3.0

    determinism.run(main, seed=1)


def test_a_pause_ends_in_time_and_can_be_given_up() -> None:
    async def play() -> list[tuple[str, float]]:
        ended: list[tuple[str, float]] = []

        async def pause(name: str, seconds: float) -> None:
            await timeline().pause(seconds)
            ended.append((name, trio.current_time()))

        with trio.move_on_after(2.0):
            async with trio.open_nursery() as nursery:
                for name, seconds in (("too late", 3.0), ("second", 1.5), ("first", 1.0), ("at once", 0.0)):
                    nursery.start_soon(pause, name, seconds)
        await trio.sleep(5)
        return ended

    assert determinism.run(play, seed=1) == [("at once", 0.0), ("first", 1.0), ("second", 1.5)]
