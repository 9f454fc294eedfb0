"""What every scenario begins with, and how it waits: machines that start one by one, conditions that come true."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import Final

import trio

from .world import World

START_WITHIN_S: Final = 1.0


async def start_all(world: World, names: Iterable[str], draws: random.Random) -> None:
    """Returns when all have started, each at a drawn moment of the first second."""
    async with trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(start_later, world, name, draws.uniform(0, START_WITHIN_S))


async def start_later(world: World, name: str, delay_s: float) -> None:
    await trio.sleep(delay_s)
    await world.start(name)


async def until(condition: Callable[[], bool], limit_s: float, poll_s: float) -> bool:
    """Whether it came true in time."""
    with trio.move_on_after(limit_s):
        while not condition():  # noqa: ASYNC110 - what it asks of many nodes has no one event
            await trio.sleep(poll_s)
        return True
    return condition()


def all_know_all(world: World) -> bool:
    """Everyone who runs holds everyone who runs for present, and nobody else."""
    running = {machine.name for machine in world.running()}
    return all(known_at(world, name) == running for name in sorted(running))


def known_at(world: World, name: str) -> set[str]:
    """Whom this node holds for present, itself included."""
    return {name} | {member.name for member in world.node(name).membership.present()}


def busy(world: World) -> list[str]:
    """Nodes with slots in use, work in the queue or sandboxes that no spare accounts for."""
    faults = []
    for machine in world.running():
        assert machine.running is not None
        node, workers = machine.running.node, len(machine.running.sandbox.workers)
        load = node.execution.load()
        if load.busy or load.queued or workers > node.config.execution.spares_max:
            faults.append(f"{machine.name} has {load.busy} busy, {load.queued} queued, {workers} worker processes")
    return faults
