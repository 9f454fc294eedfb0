"""The shell of `faults`: carries out a storm on a world, and undoes what has to be undone.

Faults that meet on one machine are carried out as far as they make sense: who is off cannot be paused.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import permutations, product
from typing import Final

import msgspec
import trio

from .faults import Fault, Storm
from .world import World

_FLIPS_MAX: Final = 4
_TABLES: Final = ("records", "registers")

Ways = list[tuple[str, str]]
"""By source and target, as addresses."""


class Suffered(msgspec.Struct, frozen=True):
    """A fault that was carried out."""

    fault: Fault
    began_s: float
    ended_s: float


class Storms:
    def __init__(self, world: World, draws: random.Random) -> None:
        self._world = world
        self._ether = world.ether
        self._draws = draws
        self.suffered: list[Suffered] = []

    async def rage(self, storm: Storm) -> None:
        """Returns when the storm is over and everything is undone."""
        async with trio.open_nursery() as nursery:
            for fault in storm.faults:
                nursery.start_soon(self._carry_out, fault)
            await trio.sleep(storm.lasts_s)

    async def _carry_out(self, fault: Fault) -> None:
        await trio.sleep(fault.at_s)
        if fault.kind in _ON_RUNNING and not all(self._world.is_up(name) for name in fault.whom):
            return
        began_s = trio.current_time()
        self._world.log.note(fault.whom[0], "fault", fault.shown())
        async with self._suffering(fault):
            await trio.sleep(fault.lasts_s)
        self._world.log.note(fault.whom[0], "over", fault.kind)
        self.suffered.append(Suffered(fault, began_s, trio.current_time()))

    def _suffering(self, fault: Fault) -> AbstractAsyncContextManager[None]:
        begin_and_end = _ON_WAYS.get(fault.kind)
        if begin_and_end is not None:
            return self._on_ways(fault, begin_and_end(self))
        match fault.kind:
            case "breaks":
                return self._broken(fault)
            case "parted" | "unheard":
                return self._apart(fault)
            case "paused":
                return self._paused(fault.whom[0])
            case "full":
                return self._full(fault.whom[0])
            case "jumps" | "drifts":
                return self._wrong_clock(fault)
            case "crashed" | "wiped" | "gone" | "flipped" | "leaves":
                return self._off(fault)
        return self._misbehaving(fault)

    # Ways

    @asynccontextmanager
    async def _on_ways(self, fault: Fault, change: Callable[[tuple[str, str], float], None]) -> AsyncIterator[None]:
        """`change` is given a way and how bad it becomes; 0 when it is over."""
        ways = list(permutations(self._addresses(fault.whom)))
        for one, other in ways:
            change((one, other), fault.amount or 1.0)
        yield
        for one, other in ways:
            change((one, other), 0.0)

    def slows(self) -> Callable[[tuple[str, str], float], None]:
        return self._ether.weather.slow

    def clogs(self) -> Callable[[tuple[str, str], float], None]:
        return lambda way, bytes_per_s: self._ether.weather.clog(way, int(bytes_per_s))

    def cuts(self) -> Callable[[tuple[str, str], float], None]:
        return lambda way, bad: self._ether.cut(*way) if bad else self._ether.mend(*way)

    @asynccontextmanager
    async def _broken(self, fault: Fault) -> AsyncIterator[None]:
        self._ether.break_streams(*self._addresses(fault.whom))
        yield

    @asynccontextmanager
    async def _apart(self, fault: Fault) -> AsyncIterator[None]:
        side = self._addresses(fault.whom)
        others = [one.address for one in self._world.machines.values() if one.address not in side]
        ways = list(product(side, others))
        if fault.kind == "parted":
            ways += [(target, source) for source, target in ways]
        for way in ways:
            self._ether.cut(*way)
        yield
        for way in ways:
            self._ether.mend(*way)

    def _addresses(self, names: tuple[str, ...]) -> list[str]:
        return [self._world.machines[name].address for name in names]

    # Machines

    @asynccontextmanager
    async def _paused(self, name: str) -> AsyncIterator[None]:
        if self._world.is_frozen(name):
            yield  # by another fault, which thaws it
            return
        self._world.freeze(name)
        try:
            yield
        finally:
            self._world.thaw(name)

    @asynccontextmanager
    async def _full(self, name: str) -> AsyncIterator[None]:
        machine = self._world.machines[name]
        machine.disk.full = True
        yield
        machine.disk.full = False

    @asynccontextmanager
    async def _wrong_clock(self, fault: Fault) -> AsyncIterator[None]:
        clock = self._world.machines[fault.whom[0]].clock
        if fault.kind == "drifts":
            clock.set_drift(fault.amount)
            yield
            clock.set_drift(0.0)
        else:
            clock.offset_s += fault.amount
            yield
            clock.offset_s -= fault.amount

    @asynccontextmanager
    async def _misbehaving(self, fault: Fault) -> AsyncIterator[None]:
        mouth = self._world.machines[fault.whom[0]].mouth
        mouth.begin(fault.kind)
        yield
        mouth.end(fault.kind)

    @asynccontextmanager
    async def _off(self, fault: Fault) -> AsyncIterator[None]:
        world = self._world
        for name in fault.whom:
            world.machines[name].disk.full = False  # who has it leave makes room first
            if fault.kind == "leaves":
                await world.leave(name)
            elif fault.kind == "crashed" and fault.amount:
                world.kill(name)
            else:
                world.power_off(name)
            if fault.kind in ("wiped", "gone"):
                world.lose_disk(name)
            elif fault.kind == "flipped":
                self._flip(name)
        yield
        for name in fault.whom if fault.kind != "gone" else ():
            if world.machines[name].running is None:  # else another fault has brought it back
                world.machines[name].disk.full = False  # no node begins without room
                await world.start(name)

    def _flip(self, name: str) -> None:
        for _ in range(self._draws.randint(1, _FLIPS_MAX)):
            flipped = self._world.machines[name].disk.flip_bit(self._draws.choice(_TABLES), self._draws)
            self._world.log.note(name, "bit flipped", flipped)


_ON_WAYS: Final = {
    "flickers": Storms.cuts,
    "stalls": Storms.cuts,
    "lags": Storms.slows,
    "crawls": Storms.slows,
    "clogs": Storms.clogs,
}
_ON_RUNNING: Final = frozenset({"paused", "full", "crashed", "wiped", "gone", "flipped", "leaves"})
"""What can befall a running node only."""
