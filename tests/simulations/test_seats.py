"""Masters that were cut off, among whole nodes in virtual time."""

from __future__ import annotations

import json
from functools import partial

import pytest
import trio
from potluck.node.custody.seats import register_of
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.questions import AskJob
from potluck.simulations import determinism
from potluck.simulations.gathering import all_know_all, until
from potluck.simulations.jobs import FUNCTION
from potluck.simulations.sandbox import encoded_call
from potluck.simulations.world import World


async def _cut_off_when_idle() -> None:
    async with trio.open_nursery() as nursery:
        world = World(3, nursery)
        names = [world.add_machine().name for _ in range(6)]
        for name in names:
            world.machines[name].mesh = world.machines[names[0]].mesh  # one owner: the new master needs not this deputy
            await world.start(name)
        assert await until(lambda: all_know_all(world), 20, 0.1)
        custody = world.node(names[0]).custody
        job = custody.open(JobOptions(lasting=True), None)
        custody.submit(job, FUNCTION, [TaskSpec(0, encoded_call(0, 0.0))])
        await custody.seal(job, 1)
        assert await until(lambda: custody.masteries[job].over, 10, 0.1)

        def masters() -> list[str]:
            return [name for name in names if job in world.node(name).custody.masteries]

        world.ether.partition({world.machines[names[0]].address: 1})
        assert await until(lambda: len(masters()) == 2, 30, 0.1), "the others have chosen another"
        world.ether.heal()
        assert await until(lambda: len(masters()) == 1, 40, 0.1), "the one that was cut off has heard of it"
        assert masters() != [names[0]]
        assert not world.failures
        nursery.cancel_scope.cancel()


def test_a_master_that_was_cut_off_with_nothing_to_tell_hears_that_it_is_none() -> None:
    determinism.run(_cut_off_when_idle, seed=3)


async def _told_of_after(deaths: int, nodes: int, *, at_most_once: bool = False) -> None:
    """The last of these machines is asked, from the moment its job's master has died."""
    async with trio.open_nursery() as nursery:
        world = World(4, nursery)
        names = [world.add_machine().name for _ in range(nodes)]
        for name in names:
            world.machines[name].mesh = world.machines[names[0]].mesh
            await world.start(name)
        assert await until(lambda: all_know_all(world), 20, 0.1)
        custody = world.node(names[0]).custody
        job = custody.open(JobOptions(lasting=True, at_most_once=at_most_once), None)
        custody.submit(job, FUNCTION, [TaskSpec(0, encoded_call(0, 0.0))])
        await custody.seal(job, 1)
        assert await until(lambda: custody.masteries[job].over, 10, 0.1)
        await trio.sleep(2)  # the deputies hear what was shown with what comes next
        for name in names[:deaths]:
            world.kill(name)
        survivor = world.node(names[-1])
        await trio.sleep(3)  # it is known
        gone_s = trio.current_time() + 40
        while trio.current_time() < gone_s:
            for question in (AskJob(1, job, "job"), AskJob(2, job, "tasks"), AskJob(3, "", "jobs")):
                began_s = trio.current_time()
                said = await survivor.questions.answer(question)
                told = json.loads(said.json)
                row = told[0] if isinstance(told, list) else told
                assert (row["job"], row["tasks_total"]) == (job, 1), "it is known all the time"
                assert trio.current_time() - began_s < 5
            await trio.sleep(0.3)
        assert row["state"] == "completed"
        assert not world.failures
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("deaths,nodes,at_most_once", [(1, 2, False), (1, 2, True), (2, 3, False), (1, 4, False)])
def test_a_job_whose_master_has_died_is_told_of_all_the_time(deaths: int, nodes: int, at_most_once: bool) -> None:
    determinism.run(partial(_told_of_after, deaths, nodes, at_most_once=at_most_once), seed=4)


async def _garbled() -> None:
    """Any member may have anything agreed, and this one has had something agreed that is no list of seats."""
    async with trio.open_nursery() as nursery:
        world = World(3, nursery)
        names = [world.add_machine().name for _ in range(4)]
        for name in names:
            world.machines[name].mesh = world.machines[names[0]].mesh
            await world.start(name)
        assert await until(lambda: all_know_all(world), 20, 0.1)
        custody = world.node(names[0]).custody
        job = custody.open(JobOptions(lasting=True), None)
        custody.submit(job, FUNCTION, [TaskSpec(index, encoded_call(index, 300.0)) for index in range(16)])
        await custody.seal(job, 16)
        assert await until(lambda: all(world.node(name).execution.load().busy for name in names), 10, 0.1)
        anything = world.node(names[3]).registers
        await anything.change(register_of(job), lambda content: (b"\xc1 is no list", None))
        world.power_off(names[0])
        survivors = [world.node(name) for name in names[1:]]
        assert await until(lambda: any(node.execution.orphans() for node in survivors), 30, 0.1)
        await trio.sleep(20)  # several looks at what has no master
        await world.start(names[0])
        await trio.sleep(20)
        assert not world.failures
        nursery.cancel_scope.cancel()


def test_a_list_of_seats_that_is_none_ends_nobody() -> None:
    determinism.run(_garbled, seed=3)
