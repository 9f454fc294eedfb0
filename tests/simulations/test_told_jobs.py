"""What nodes tell of lasting jobs while masters come and go, among whole nodes in virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from potluck.overlay.errors import Unavailable
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.questions import AskJob
from potluck.simulations import determinism
from potluck.simulations.gathering import all_know_all, until
from potluck.simulations.jobs import FUNCTION
from potluck.simulations.sandbox import encoded_call
from potluck.simulations.world import World


class Told(World):
    """Nodes of one owner."""

    names: list[str]

    async def begin(self, nodes: int) -> None:
        self.names = [self.add_machine().name for _ in range(nodes)]
        for name in self.names:
            self.machines[name].mesh = self.machines[self.names[0]].mesh
            await self.start(name)
        assert await until(lambda: all_know_all(self), 20, 0.1)

    async def submit(self, name: str, tasks: int, cost_s: float = 0.0, **options: Any) -> str:
        custody = self.node(name).custody
        job = custody.open(JobOptions(lasting=True, **options), None)
        custody.submit(job, FUNCTION, [TaskSpec(index, encoded_call(index, cost_s)) for index in range(tasks)])
        await custody.seal(job, tasks)
        return job

    async def ask(self, name: str, what: str, job: str = "") -> Any:
        return json.loads((await self.node(name).questions.answer(AskJob(1, job, what))).json)

    async def lines(self, name: str, job: str) -> int:
        return len((await self.node(name).questions.answer(AskJob(1, job, "tasks"))).lines)

    def masters(self, job: str) -> list[str]:
        return [name for name in self.names if self.is_up(name) and job in self.node(name).custody.masteries]

    def keep(self, job: str) -> list[str]:
        return [name for name in self.names if self.is_up(name) and job in self.node(name).custody.shelf.heads]


def play(nodes: int, story: Callable[[Told], Awaitable[None]]) -> None:
    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = Told(4, nursery)
            await world.begin(nodes)
            await story(world)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=4)


def test_what_is_forgotten_is_nowhere_any_more_and_told_by_nobody() -> None:
    async def story(world: Told) -> None:
        first, second, third = world.names
        job = await world.submit(first, 3)
        assert await until(lambda: world.node(first).custody.masteries[job].over, 10, 0.1)
        await trio.sleep(2)
        assert world.keep(job) == [second, third], "its deputies"
        await world.ask(second, "forget", job)
        assert await until(lambda: not world.keep(job), 1, 0.1)
        world.kill(first)
        for _ in range(20):
            assert await world.ask(second, "jobs") == []
            await trio.sleep(0.5)

    play(3, story)


def test_a_forgotten_job_is_not_told_of_by_a_deputy_that_was_away() -> None:
    async def story(world: Told) -> None:
        first, second, third = world.names
        job = await world.submit(first, 3)
        assert await until(lambda: world.node(first).custody.masteries[job].over, 10, 0.1)
        await trio.sleep(2)
        world.kill(third)
        await world.ask(first, "forget", job)
        await world.start(third)
        assert await until(lambda: all_know_all(world), 20, 0.1)
        world.kill(first)
        for _ in range(20):
            assert await world.ask(second, "jobs") == await world.ask(third, "jobs") == []
            await trio.sleep(0.5)
        assert not world.keep(job)

    play(3, story)


def test_whose_master_lives_is_told_of_at_once_where_nothing_can_be_agreed() -> None:
    async def story(world: Told) -> None:
        master, *others, asked = world.names
        job = await world.submit(master, 5)
        assert await until(lambda: world.node(master).custody.masteries[job].over, 10, 0.1)
        for name in others:
            world.kill(name)
        await trio.sleep(5)
        began_s = trio.current_time()
        for _ in range(20):
            assert (await world.ask(asked, "job", job))["tasks_ended"] == 5
            assert await world.lines(asked, job) == 5
        assert trio.current_time() - began_s < 3

    play(5, story)


def test_every_task_is_listed_while_there_is_no_master() -> None:
    async def story(world: Told) -> None:
        master, *others, asked = world.names
        job = await world.submit(master, 40, cost_s=2.0)
        await trio.sleep(6)
        for name in (master, *others):
            world.kill(name)
        for _ in range(10):
            told = await world.ask(asked, "job", job)
            assert (told["tasks_total"], await world.lines(asked, job)) == (40, 40)
            assert told["tasks_ended"] < 40
            await trio.sleep(1)

    play(3, story)


def test_history_has_one_row_of_a_job_whoever_its_masters_were() -> None:
    async def story(world: Told) -> None:
        first = world.names[0]
        job = await world.submit(first, 60, cost_s=4.0)
        await trio.sleep(2)
        world.ether.partition({world.machines[first].address: 1})
        assert await until(lambda: bool(world.masters(job)[1:]), 30, 0.1), "another one has taken over"
        for name in world.names[1:]:
            assert await world.ask(name, "history") == [], "it is not over"
        world.ether.heal()
        assert await until(lambda: len(world.masters(job)) == 1 and first not in world.masters(job), 30, 0.1)
        (master,) = world.masters(job)
        assert await until(lambda: world.node(master).custody.masteries[job].over, 200, 0.1)
        for name in world.names:
            (row,) = await world.ask(name, "history")
            assert (row["job"], row["state"], row["tasks"], row["failed"]) == (job, "completed", 60, 0)
            assert sum(row["nodes"].values()) == 60

    play(4, story)


def test_a_job_of_which_nothing_ever_ran_is_kept_for_as_long_as_others() -> None:
    async def story(world: Told) -> None:
        first, second, _ = world.names
        job = await world.submit(first, 3, on="nowhere")
        assert await until(lambda: world.node(first).custody.masteries[job].over, 20, 0.1)
        assert await world.lines(second, job) == 3
        await trio.sleep(60)
        assert [row["job"] for row in await world.ask(second, "jobs")] == [job]
        ended_s = world.node(first).custody.masteries[job].counts.ended_s
        assert ended_s == pytest.approx(world.node(first).mesh_time.now_s() - 60, abs=10)

    play(3, story)


@pytest.mark.parametrize("returns_after_s", [6.0, 20.0])
def test_of_two_a_master_that_returns_stays_master_where_the_other_waited(returns_after_s: float) -> None:
    """Of tasks that must not run twice; what it had under way to succeed it does not depose it."""

    async def story(world: Told) -> None:
        first, second = world.names
        job = await world.submit(first, 6, 20.0, at_most_once=True)
        world.power_off(first)
        await trio.sleep(returns_after_s)
        await world.start(first)
        assert await until(lambda: world.masters(job) == [first], 20, 0.1)
        await trio.sleep(30)
        row = await world.ask(second, "job", job)
        assert (row["master"], row["epoch"]) == (first, 2)

    play(2, story)


def cut_off(world: Told, minority: list[str]) -> None:
    world.ether.partition({world.machines[name].address: 1 for name in minority})


async def why(world: Told, name: str, job: str) -> str:
    return " | ".join(one["reason"] for one in await world.ask(name, "explain", job))


def test_a_job_that_was_cancelled_where_nobody_could_know_of_it_is_cancelled_by_its_next_master() -> None:
    async def story(world: Told) -> None:
        master = world.names[0]
        job = await world.submit(master, 200, 2.0)
        cut_off(world, world.names[:2])
        await trio.sleep(7)
        with pytest.raises(Unavailable, match="is being cancelled, which is not safe yet"):
            await world.ask(master, "cancel", job)
        assert "its outcome is not safe yet" in await why(world, master, job)
        assert await until(lambda: any(name in world.names[2:] for name in world.masters(job)), 30, 0.1)
        world.ether.heal()
        for name in world.names:
            for _ in range(60):
                if (told := await world.ask(name, "job", job))["state"] == "cancelled":
                    break
                await trio.sleep(0.5)
            assert told["state"] == "cancelled" and told["epoch"] > 1

    play(5, story)


def test_what_must_not_run_twice_says_in_a_minority_that_it_waits_for_the_others() -> None:
    async def story(world: Told) -> None:
        master = world.names[0]
        job = await world.submit(master, 200, 2.0, at_most_once=True)
        cut_off(world, world.names[:2])
        await trio.sleep(20)
        told = await why(world, master, job)
        assert "it must not run twice" in told and "every slot" not in told and "a slot" not in told

    play(5, story)


def test_jobs_are_listed_all_the_while_their_master_starts() -> None:
    async def story(world: Told) -> None:
        master, _, asked = world.names
        job = await world.submit(master, 5)
        assert await until(lambda: world.node(master).custody.masteries[job].over, 10, 0.1)
        world.power_off(master)
        await world.start(master)
        for _ in range(100):
            for name in (master, asked):
                assert [row["job"] for row in await world.ask(name, "jobs")] == [job]
            await trio.sleep(0.1)

    play(3, story)
