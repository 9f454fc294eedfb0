"""Whole nodes in virtual time, for stories about what they hold."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

import trio
from potluck.node.daemon import Node
from potluck.overlay.clock import version_at
from potluck.overlay.dht.attendance import Attendance
from potluck.overlay.dht.records import Draft, sign
from potluck.overlay.dht.store import RecordStore
from potluck.overlay.ids import distance, key_id
from potluck.simulations import determinism
from potluck.simulations.gathering import until
from potluck.simulations.store import VirtualStore
from potluck.simulations.world import Machine, World

Story = Callable[[World, list[str]], Awaitable[None]]
DAY_S = 86_400.0


def play(story: Story, nodes: int, *, started: int | None = None, seed: int = 5) -> None:
    """`started`: how many of them run and know each other when the story begins; the rest are switched off."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(seed, nursery)
            names = [world.add_machine().name for _ in range(nodes)]
            for name in names[:started]:
                await world.start(name)
            await settled(world)
            await story(world, names)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=seed)


def running(world: World) -> list[Node]:
    return [world.node(machine.name) for machine in world.running()]


async def settled(world: World) -> None:
    """Everyone knows everyone, and has what it has to hold."""

    def are() -> bool:
        nodes = running(world)
        return all(
            len(node.membership.present()) == len(nodes) - 1
            and node.dht.share.syncing.settled is not None
            and len(node.dht.share.syncing.settled.others) == min(len(nodes) - 1, node.config.dht.k)
            for node in nodes
        )

    assert await until(are, 60.0, 0.05)


def holders(nodes: Sequence[Node], key: bytes, namespace: str = "mem") -> list[str]:
    place = key_id(namespace, key)
    nearest = sorted(nodes, key=lambda node: distance(node.node_id, place))
    return [node.name for node in nearest[: nodes[0].config.dht.replicas]]


def has(node: Node, key: bytes, namespace: str = "mem") -> list[bytes]:
    return [record.value for record in node.dht.share.at(key_id(namespace, key))]


def prepare(
    machine: Machine, now_s: float, *, company_s: float | None, keys: dict[bytes, float], near: list[bytes]
) -> None:
    """A disk as an earlier life has left it: records of its own by the age of their version, and when it was last in
    company, both in seconds before `now_s`."""
    store = VirtualStore(machine.disk, lambda: 0.0)
    records = RecordStore(store)
    for key, age_s in keys.items():
        records.put(now_s, sign(Draft("mem", key, b"old", version_at(now_s - age_s)), machine.key))
    if company_s is not None:
        attendance = Attendance(store)
        for days_before in range(100, -1, -10):  # for long, until then
            attendance.note(now_s - company_s - days_before * DAY_S, near)
    store._settle(len(store._uncommitted))
