"""Masters that were cut off, among whole nodes in virtual time."""

from __future__ import annotations

import trio
from potluck.overlay.wire.control import JobOptions, TaskSpec
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
