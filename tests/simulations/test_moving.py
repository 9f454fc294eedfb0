"""Machines that are given other addresses while their nodes run: they are found there, and nothing is lost."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable

import pytest
import trio
from potluck.overlay.ports import Address
from potluck.simulations import determinism
from potluck.simulations.gathering import all_know_all, until
from potluck.simulations.world import World

NODES = 6
FOUND_S = 3.0
"""Before anybody could be called dead: those who move say so by what they open."""
POLL_S = 0.1


def play(story: Callable[[World], Awaitable[None]], seed: int = 4) -> None:
    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(seed, nursery)
            for name in [world.add_machine().name for _ in range(NODES)]:
                await world.start(name)
            assert await until(lambda: all_know_all(world), 20, POLL_S)
            await story(world)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=seed)


def known_where_it_is(world: World, names: Iterable[str]) -> bool:
    """By everyone who runs, and by itself."""
    for name in names:
        machine, here = world.machines[name], world.node(name)
        address = Address(machine.address, here.address.port)
        members = [world.node(one.name).membership.get(here.node_id) for one in world.running() if one.name != name]
        if here.address != address or any(one is None or one.address != address for one in members):
            return False
    return True


def found(world: World, names: Iterable[str]) -> bool:
    return all_know_all(world) and known_where_it_is(world, names)


@pytest.mark.parametrize(
    "movers,apart_s,seed", [(1, 0.0, 4), (2, 0.0, 4), (NODES, 0.0, 4), (3, 0.05, 16), (NODES, 0.1, 14)]
)
def test_who_has_moved_is_found_by_everybody_and_has_lost_nothing(movers: int, apart_s: float, seed: int) -> None:
    async def story(world: World) -> None:
        names = list(world.machines)
        for number, name in enumerate(names):
            await world.node(name).memory.set(f"plain{number}", b"%d" % number, None)
        for name in names:
            await world.node(name).memory.increment("agreed", 1)
        for name in names[:movers]:
            world.move(name)
            await trio.sleep(apart_s)
        await trio.sleep(POLL_S)
        assert await until(lambda: found(world, names), FOUND_S, POLL_S)
        assert not any(one.event == "died" for one in world.log.events)
        for name in names:
            for number in range(NODES):
                assert (await world.node(name).memory.get(f"plain{number}"))[0] == b"%d" % number
            await world.node(name).memory.increment("agreed", 1)
        answer = await world.node(names[0]).memory.increment("agreed", 0)
        assert answer["value"] == 2 * NODES

    play(story, seed)


def test_who_moves_again_and_again_is_where_it_was_last() -> None:
    async def story(world: World) -> None:
        name = next(iter(world.machines))
        for pause_s in (0.0, 0.3, 1.0, 3.0, 0.0):
            world.move(name)
            await trio.sleep(pause_s)
        assert await until(lambda: found(world, [name]), FOUND_S, POLL_S)

    play(story)


def test_who_moves_while_it_is_cut_off_is_found_where_it_is_then() -> None:
    async def story(world: World) -> None:
        name = next(iter(world.machines))
        world.unplug(name)
        await trio.sleep(20.0)
        world.move(name)
        await trio.sleep(5.0)
        world.plug(name)
        assert await until(lambda: found(world, [name]), FOUND_S, POLL_S)

    play(story)


def test_who_moves_and_crashes_is_found_where_it_starts_again() -> None:
    async def story(world: World) -> None:
        name = next(iter(world.machines))
        world.move(name)
        await trio.sleep(0.1)
        world.kill(name)
        await world.start(name)
        assert await until(lambda: found(world, [name]), FOUND_S, POLL_S)

    play(story)
