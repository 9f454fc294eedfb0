"""Acceptors whose disks garble what they have promised, and a founding where messages are hit, on whole nodes."""

from __future__ import annotations

import pytest
import trio
from potluck.overlay.errors import Unavailable
from potluck.simulations import determinism
from potluck.simulations.world import World

from .test_registers import all_know, number, play


def garble(world: World, name: str) -> None:
    """Every entry of its registers. It is off for so long that others notice."""
    table = world.machines[name].disk.tables["registers"]
    for key in table:
        table[key] = bytes(reversed(table[key]))


@pytest.mark.parametrize("nodes", [3, 5])
def test_who_has_forgotten_its_promises_votes_again_once_others_have_restored_them(nodes: int) -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).memory.increment("k", 1)
        total = 1
        for garbled, other in zip(names, names[1:] + names[:1], strict=True):
            world.power_off(garbled)
            garble(world, garbled)
            await trio.sleep(5)
            await world.start(garbled)
            await all_know(world, names)
            await trio.sleep(12)
            world.power_off(other)
            await trio.sleep(5)
            assert (await world.node(garbled).memory.increment("k", 1))["value"] == total + 1
            total += 1
            await world.start(other)
            await all_know(world, names)
        assert await number(world, names[-1], "k") == total

    play(story, nodes)


def test_a_forgetful_acceptor_is_no_majority_before() -> None:
    """Of three one holds the last value, one was away, and the third has forgotten it: nobody may answer."""

    async def story(world: World, names: list[str]) -> None:
        one, away, forgetful = names
        await world.node(one).memory.increment("k", 1)
        world.power_off(away)
        await world.node(one).memory.increment("k", 1)
        world.power_off(one)
        world.power_off(forgetful)
        garble(world, forgetful)
        await world.start(away)
        await world.start(forgetful)
        await trio.sleep(20)
        with pytest.raises(Unavailable):
            await world.node(away).memory.increment("k", 1)
        await world.start(one)
        await all_know(world, names)
        await trio.sleep(10)
        assert (await world.node(away).memory.increment("k", 1))["value"] == 3

    play(story, 3)


def test_the_founding_waits_for_who_answers_late() -> None:
    """It needs everyone at once, and a third of all messages is hit."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(3, nursery, loss=0.3, duplicate=0.3)
            names = [world.add_machine().name for _ in range(10)]
            for name in names:
                await world.start(name)
            await trio.sleep(10)
            with trio.fail_after(45):
                while True:
                    try:
                        await world.node(names[0]).memory.increment("k", 1)
                        break
                    except Unavailable:
                        await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=3)
