"""The way between two of three machines is broken, and both are reached by the third: work goes on where it can."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from potluck.overlay.wire.control import JobOptions, NodeReports, TaskSpec
from potluck.overlay.wire.work import Finished
from potluck.simulations import determinism
from potluck.simulations.gathering import all_know_all, until
from potluck.simulations.jobs import FUNCTION
from potluck.simulations.sandbox import encoded_call
from potluck.simulations.world import World

TASKS = 24
COST_S = 1.0


class Three(World):
    """Nodes of one owner, and a program's jobs at the first."""

    names: list[str]
    outcomes: list[Finished]

    async def begin(self) -> None:
        self.outcomes = []
        self.names = [self.add_machine().name for _ in range(3)]
        for name in self.names:
            self.machines[name].mesh = self.machines[self.names[0]].mesh
            await self.start(name)
        assert await until(lambda: all_know_all(self), 20, 0.1)

    def submit(self, tasks: int, **options: Any) -> str:
        jobs = self.node(self.names[0]).jobs
        job = jobs.open(JobOptions(**options), self._heard)
        jobs.submit(job, FUNCTION, [TaskSpec(index, encoded_call(index, COST_S)) for index in range(tasks)])
        return job

    def _heard(self, _job: str, batches: list[NodeReports]) -> None:
        self.outcomes += [one for batch in batches for one in batch.reports if isinstance(one, Finished)]

    def cut(self, *, both: bool) -> None:
        one, other = self.machines[self.names[0]].address, self.machines[self.names[2]].address
        self.ether.cut(other, one)
        if both:
            self.ether.cut(one, other)

    def mend(self) -> None:
        one, other = self.machines[self.names[0]].address, self.machines[self.names[2]].address
        self.ether.mend(other, one)
        self.ether.mend(one, other)

    async def all_done(self, tasks: int, within_s: float) -> bool:
        done = await until(lambda: len(self.outcomes) >= tasks, within_s, 0.1)
        assert sorted(one.index for one in self.outcomes) == list(range(len(self.outcomes))) or not done
        return done


def play(story: Callable[[Three], Awaitable[None]]) -> None:
    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = Three(4, nursery)
            await world.begin()
            await story(world)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=4)


@pytest.mark.parametrize("both", [True, False], ids=["silence", "one way"])
@pytest.mark.parametrize("running_s", [0.0, 2.5], ids=["before it begins", "while it runs"])
def test_a_job_is_done_by_those_who_can_be_reached(both: bool, running_s: float) -> None:
    async def story(world: Three) -> None:
        if not running_s:
            world.cut(both=both)
        world.submit(TASKS)
        await trio.sleep(running_s)
        world.cut(both=both)
        assert await world.all_done(TASKS, 40.0)
        assert all(one.fault is None for one in world.outcomes)
        world.outcomes.clear()
        world.submit(TASKS)
        assert await world.all_done(TASKS, 30.0), "nor is anything new given to it"

    play(story)


def test_what_may_run_only_once_waits_for_the_way_to_be_mended() -> None:
    async def story(world: Three) -> None:
        job = world.submit(6, at_most_once=True)
        await trio.sleep(0.3)
        world.cut(both=True)
        await trio.sleep(30)
        waits = world.node(world.names[0]).jobs.master.explain(trio.current_time(), job, 10)
        assert waits
        assert all("cannot be reached from here" in one.reason for one in waits)
        world.mend()
        assert await world.all_done(6, 60.0)
        assert all(one.fault is None for one in world.outcomes)

    play(story)


def test_what_only_the_unreachable_may_run_waits_for_it() -> None:
    async def story(world: Three) -> None:
        world.cut(both=True)
        world.submit(2, on=world.names[2])
        await trio.sleep(60)
        assert not world.outcomes
        world.mend()
        assert await world.all_done(2, 60.0)
        assert all(one.fault is None for one in world.outcomes)

    play(story)
