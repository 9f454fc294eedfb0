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
