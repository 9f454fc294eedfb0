"""Whole nodes under faults that the scenarios do not draw."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from potluck.overlay.errors import NotFound
from potluck.overlay.links.link import Link
from potluck.overlay.wire import values
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.control import JobOptions, NodeReports, TaskSpec
from potluck.overlay.wire.values import decode_bytes
from potluck.overlay.wire.work import Finished, ObjectRelease, Program
from potluck.simulations import determinism
from potluck.simulations.store import VirtualDisk
from potluck.simulations.world import World

Play = Callable[[World], Awaitable[None]]


def in_world(nodes: int, play: Play, seed: int = 1) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(seed, nursery)
            for _ in range(nodes):
                await world.start(world.add_machine().name)
            await settle(world)
            await play(world)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=seed)


def members(world: World, name: str) -> set[str]:
    return {member.name for member in world.node(name).membership.present()} | {name}


async def settle(world: World, limit_s: float = 20.0) -> None:
    """Until everyone who runs knows everyone who runs, and nobody else."""
    with trio.fail_after(limit_s):
        while True:
            running = {machine.name for machine in world.running()}
            if all(members(world, name) == running for name in running):
                return
            await trio.sleep(0.05)


def test_memory_survives_the_whole_mesh_losing_its_power() -> None:
    async def play(world: World) -> None:
        written = await world.node("a1").memory.set("k", b"before", None)
        for name in list(world.machines):
            world.power_off(name)
        await trio.sleep(3600)
        for name in world.machines:
            await world.start(name)
        await settle(world)
        for name in world.machines:
            assert await world.node(name).memory.get("k") == (b"before", written["version"])

    in_world(4, play)


def test_what_was_deleted_stays_deleted_when_a_holder_comes_back() -> None:
    async def play(world: World) -> None:
        await world.node("a1").memory.set("k", b"v", None)
        world.power_off("c1")
        await trio.sleep(10)
        await world.node("a1").memory.delete("k")
        await world.start("c1")
        await settle(world)
        for name in world.machines:
            with pytest.raises(NotFound):
                await world.node(name).memory.get("k")

    in_world(3, play)


def test_a_node_alone_keeps_its_own_memory() -> None:
    async def play(world: World) -> None:
        await world.node("a1").memory.set("k", b"v", None)
        world.kill("a1")
        await trio.sleep(1)
        await world.start("a1")
        assert (await world.node("a1").memory.get("k"))[0] == b"v"

    in_world(1, play)


def test_a_cable_pulled_for_long_is_a_death_that_is_taken_back() -> None:
    async def play(world: World) -> None:
        world.unplug("b1")
        await trio.sleep(8)
        assert "b1" not in members(world, "a1")
        assert members(world, "b1") == {"b1"}
        world.plug("b1")
        await settle(world, 60)

    in_world(4, play)


def test_two_islands_find_each_other_again() -> None:
    async def play(world: World) -> None:
        island = {world.machines[name].address: 1 for name in ("c1", "d1", "a2")}
        world.ether.partition(island)
        await trio.sleep(10)
        assert members(world, "a1") == {"a1", "b1", "b2"}
        assert members(world, "c1") == {"c1", "d1", "a2"}
        await world.node("a1").memory.set("k", b"here", None)
        await trio.sleep(3)  # more than their clocks may differ, each island by its own median
        await world.node("c1").memory.set("k", b"there", None)
        world.ether.heal()
        await settle(world, 90)
        await trio.sleep(5)
        values = {(await world.node(name).memory.get("k"))[0] for name in world.machines}
        assert values == {b"there"}, "the newer of two plain writes wins everywhere"

    in_world(6, play)


def test_a_clock_an_hour_off_is_told_and_does_no_harm() -> None:
    async def play(world: World) -> None:
        machine = world.add_machine()
        machine.clock.offset_s = 3600.0
        await world.start(machine.name)
        await settle(world)
        await trio.sleep(30)
        error_s = world.node(machine.name).status()["clock_error_s"]
        assert isinstance(error_s, float)
        assert 3590 < error_s < 3610
        await world.node(machine.name).memory.set("k", b"from the future", None)
        await world.node("a1").memory.set("k", b"later", None)
        for name in world.machines:
            assert (await world.node(name).memory.get("k"))[0] == b"later"

    in_world(3, play)


def test_a_node_that_leaves_is_told_at_once_and_missed_by_nobody() -> None:
    async def play(world: World) -> None:
        began_s = trio.current_time()
        await world.leave("b1")
        assert trio.current_time() - began_s < 2
        assert all("b1" not in members(world, machine.name) for machine in world.running())
        states = {row["name"]: row["state"] for row in await world.node("a1").peers()}
        assert states == {"a1": "alive", "b1": "left", "c1": "alive", "d1": "alive"}
        await world.start("b1")
        await settle(world)

    in_world(4, play)


def test_a_worker_that_missed_the_end_of_a_job_hears_of_it_at_the_next_link() -> None:
    async def play(world: World) -> None:
        submitter, worker = world.machines["a1"], world.machines["b1"]
        node, reported = world.node("a1"), trio.Event()

        def take(_job: str, batches: list[NodeReports]) -> None:
            if any(isinstance(report, Finished) for batch in batches for report in batch.reports):
                reported.set()

        job_id = node.jobs.open(JobOptions(), take)
        kind = Program(bytes(32), "kind")
        node.jobs.submit(job_id, kind, [TaskSpec(0, values.encode("b0"), "b")])
        await reported.wait()
        world.ether.cut(submitter.address, worker.address)
        node.jobs.close(job_id)
        world.ether.break_streams(submitter.address, worker.address)
        world.ether.mend(submitter.address, worker.address)
        await trio.sleep(5)
        execution = world.node("b1").execution
        assert not execution.held_for(node.node_id)

    in_world(2, play)


def test_disks_lost_one_after_another_take_no_agreed_value_with_them() -> None:
    async def play(world: World) -> None:
        for key in ("one", "other"):
            await world.node("a1").memory.increment(key, 7)
        for name in list(world.machines):
            world.power_off(name)
            world.machines[name].disk = VirtualDisk()
            await trio.sleep(2)
            await world.start(name)
            await settle(world)
            await trio.sleep(15)
        for name in world.machines:
            for key in ("one", "other"):
                assert decode_bytes((await world.node(name).memory.get(key))[0]) == 7

    in_world(3, play)


def test_a_fault_that_a_node_goes_on_after_is_a_failure_of_the_world() -> None:
    """`overlay.boundary` hides none from whoever looks for them."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = World(1, nursery)
            for _ in range(2):
                await world.start(world.add_machine().name)
            await settle(world)
            one, other = (world.node(name) for name in world.machines)

            def fail(link: Link, message: Message) -> None:
                raise KeyError("nobody has thought of that")

            one.links._handlers[ObjectRelease] = fail
            link = other.links.get(one.node_id)
            assert link is not None
            link.post(ObjectRelease([bytes(16)]))
            await trio.sleep(1)
            assert all(map(world.is_up, world.machines))
            [failure] = world.failures
            assert "nobody has thought of that" in failure
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
