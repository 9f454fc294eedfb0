"""Whole nodes whose wall clocks are wrong, jump and are put right: one time for all, and nothing is lost by it."""

from __future__ import annotations

import pytest
import trio
from potluck.overlay.errors import NotFound
from potluck.simulations.world import World

from .test_world import in_world, settle

HOUR_S = 3600.0


def spread_s(world: World) -> float:
    times = [world.node(machine.name).mesh_time.now_s() for machine in world.running()]
    return max(times) - min(times)


async def goes_on(world: World, limit_s: float = 60.0) -> None:
    """Memory is set and read, with and without an end, by everybody from everybody; all within a minute."""
    names = [machine.name for machine in world.running()]
    with trio.fail_after(limit_s):
        for number, name in enumerate(names):
            reader = world.node(names[number - 1]).memory
            await world.node(name).memory.set("turn", name.encode(), None)
            assert (await reader.get("turn"))[0] == name.encode()
            await world.node(name).memory.set("soon gone", name.encode(), 5.0)
            assert (await reader.get("soon gone"))[0] == name.encode()
        await trio.sleep(6)
        for name in names:
            with pytest.raises(NotFound):
                await world.node(name).memory.get("soon gone")


@pytest.mark.parametrize("nodes", [2, 3])
@pytest.mark.parametrize("jump_s", [HOUR_S, -HOUR_S, 30 * 365 * 24 * HOUR_S])
def test_a_wall_clock_that_is_set_while_a_node_runs_moves_nothing_and_is_told(nodes: int, jump_s: float) -> None:
    async def play(world: World) -> None:
        await trio.sleep(15)
        told: list[object] = []
        world.node("b1").watch(lambda event: told.append(event.get("error_s")) if event["event"] == "clock" else None)
        before_s = world.node("a1").mesh_time.now_s() - trio.current_time()
        for offset_s, error_s in ((jump_s, jump_s), (-jump_s, 0.0)):
            world.machines["b1"].clock.offset_s += offset_s
            await trio.sleep(90)
            assert told.pop() == pytest.approx(error_s, abs=2)
            assert not told, "once"
            assert spread_s(world) < 1
            await goes_on(world)
        assert world.node("a1").mesh_time.now_s() - trio.current_time() == pytest.approx(before_s, abs=1)

    in_world(nodes, play)


def test_a_mesh_with_wrong_clocks_keeps_one_time_and_its_memory_through_restarts_in_any_order() -> None:
    async def play(world: World) -> None:
        names = list(world.machines)
        for number, error_s in enumerate((0.0, HOUR_S, 0.2, -HOUR_S, -0.1)):
            world.machines[names[number]].clock.offset_s = error_s
        for first in range(len(names)):
            for name in names:
                world.power_off(name)
            await trio.sleep(60)
            for name in names[first:] + names[:first]:
                await world.start(name)
                await trio.sleep(first * 4)  # so that the first may have lived alone
            await settle(world)
            await trio.sleep(30)
            assert spread_s(world) < 1
            if first:
                assert (await world.node(names[first]).memory.get("kept"))[0] == b"%d" % (first - 1)
            await world.node(names[-first]).memory.set("kept", b"%d" % first, None)
            await goes_on(world)

    in_world(5, play)


def test_of_three_the_one_whose_clock_is_wrong_is_told_also_when_the_mesh_has_its_time() -> None:
    async def play(world: World) -> None:
        told: dict[str, list[object]] = {name: [] for name in world.machines}
        for name in world.machines:
            world.power_off(name)
        world.machines["a1"].clock.offset_s = HOUR_S
        for name, heard in told.items():
            await world.start(name)
            world.node(name).watch(lambda event, heard=heard: heard.append(event.get("error_s")))
            await trio.sleep(60)
        ends = {name: [error_s for error_s in heard if error_s is not None][-1:] for name, heard in told.items()}
        assert ends["a1"] == [pytest.approx(HOUR_S, abs=2)]
        assert ends["b1"] in ([], [0.0]), "what it was told while they were two is taken back"
        assert ends["c1"] in ([], [0.0])
        assert spread_s(world) < 1
        await goes_on(world)

    in_world(3, play)


def test_what_a_machine_wrote_in_the_meshs_time_is_not_moved_when_it_starts_again_alone_with_a_wrong_clock() -> None:
    """It was cut off and the only one to know of it; moved by an hour it would lose to what was written before."""

    async def play(world: World) -> None:
        await world.node("a1").memory.set("k", b"old", None)
        world.ether.partition({world.machines["c1"].address: 1})
        await trio.sleep(30)
        written = await world.node("c1").memory.set("k", b"new", None)
        world.power_off("c1")
        world.machines["c1"].clock.offset_s += HOUR_S
        await world.start("c1")
        await trio.sleep(5)
        by_its_clock = await world.node("c1").memory.set("other", b"of this life", None)
        assert by_its_clock["version"] - written["version"] > int(HOUR_S / 2 * 1000) << 16
        world.ether.heal()
        await settle(world, 60)
        await trio.sleep(30)
        for name in world.machines:
            assert await world.node(name).memory.get("k") == (b"new", written["version"])
            other, version = await world.node(name).memory.get("other")
            assert other == b"of this life" and version < by_its_clock["version"]

    in_world(3, play)
