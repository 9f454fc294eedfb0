"""Scenario `partition`: two islands of one mesh, writes on both, and how long the whole takes to be one again.

Before, everybody writes. Apart, each island must see only itself; everybody writes plain keys, its own and common ones,
and increments a counter, which one of the islands at least must refuse. Healed, everybody must know everybody, read
every key at a version no older than the newest that was acknowledged, and read the same.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

import msgspec
import trio

from . import promises
from .checks import Check, check
from .entropy import named_stream
from .gathering import all_know_all, known_at, start_all, until
from .mixed import JOIN_S, RECONVERGED_S
from .programs import Deed, Diary, Programs
from .world import World

NODES: Final = 10
ISLANDS_S: Final = 15.0
"""Until each island must have noticed that it is alone."""
PATIENCE_S: Final = 120.0
_APART_S: Final = 20.0
_COMMON_KEYS: Final = 4
_POLL_S: Final = 0.05


class PartitionScenario:
    def __init__(self, world: World, seed: int, nodes: int) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario partition")
        self._names = [world.add_machine().name for _ in range(nodes)]
        self.island = sorted(self._draws.sample(self._names, nodes // 2))
        self.programs = Programs(world, seed)
        self.joined_s: float | None = None
        self.apart_s: float | None = None
        """How long each island took to see only itself."""
        self.counted: set[bool] = set()
        """Islands that had an increment acknowledged while they were apart: whether it is `island`, or the other."""
        self.reconverged_s = math.inf

    async def play(self) -> None:
        await start_all(self._world, self._names, self._draws)
        if not await until(lambda: all_know_all(self._world), JOIN_S, _POLL_S):
            return  # there is nothing to part
        self.joined_s = trio.current_time()
        await self._everybody_writes("before")
        await self._apart()
        await self._reconverge()

    async def _apart(self) -> None:
        ether = self._world.ether
        ether.partition({self._world.machines[name].address: 1 for name in self.island})
        self._world.log.note("", "parted", " ".join(self.island))
        began_s = trio.current_time()
        if await until(lambda: all(map(self._sees_its_island, self._names)), ISLANDS_S, _POLL_S):
            self.apart_s = trio.current_time() - began_s
        with trio.move_on_after(_APART_S):
            await self._everybody_writes("apart")
        ether.heal()
        self._world.log.note("", "healed")

    def _sees_its_island(self, name: str) -> bool:
        here = name in self.island
        return known_at(self._world, name) == {one for one in self._names if (one in self.island) == here}

    async def _everybody_writes(self, when: str) -> None:
        async with trio.open_nursery() as nursery:
            for name in self._names:
                nursery.start_soon(self._write, name, when)

    async def _write(self, name: str, when: str) -> None:
        node = self._world.node(name)
        for key in (f"{when} {name}", *(f"common {number}" for number in range(_COMMON_KEYS))):
            await self.programs.write(name, node, key)
        counted = await self.programs.increment(name, node, "counter")
        if when == "apart" and counted.acknowledged:
            self.counted.add(name in self.island)

    async def _reconverge(self) -> None:
        began_s = trio.current_time()
        last: list[Deed] = []
        while trio.current_time() < began_s + PATIENCE_S:
            if all_know_all(self._world):
                last = await self._everybody_reads()
                if not list(_behind(self.programs.diary, last)):
                    self.reconverged_s = trio.current_time() - began_s
                    break
            await trio.sleep(_POLL_S)
        for deed in last:
            deed.kind = "last get"

    async def _everybody_reads(self) -> list[Deed]:
        before = len(self.programs.diary.deeds)
        keys = sorted({deed.key for deed in self.programs.diary.of("set")} | {"counter"})
        async with trio.open_nursery() as nursery:
            for name in self._names:
                for key in keys:
                    nursery.start_soon(self.programs.read, name, self._world.node(name), key)
        return self.programs.diary.deeds[before:]


def _behind(diary: Diary, reads: list[Deed]) -> Iterator[str]:
    """What would be wrong, were these the last reads."""
    last = Diary([*diary.of("set"), *(msgspec.structs.replace(read, kind="last get") for read in reads)])
    yield from (f"{read.shown()}: {read.error}" for read in reads if read.error)
    yield from promises.lost(last)
    yield from promises.disagreed(last)


def judge(world: World, scenario: PartitionScenario) -> tuple[list[Check], dict[str, object]]:
    diary, joined_s, apart_s = scenario.programs.diary, scenario.joined_s, scenario.apart_s
    whole = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check(
            "everyone joined and knows everyone", [] if joined_s else ["not in time"], f"after {joined_s or 0:.2f} s"
        ),
    ]
    if joined_s is None:
        return whole, {"joined_s": None, "events": len(world.log.events)}
    acknowledged = sum(deed.acknowledged for deed in diary.deeds)
    took = f"{scenario.reconverged_s:.2f} s"
    late = [took] if scenario.reconverged_s > RECONVERGED_S else []
    both = ["both did"] if len(scenario.counted) > 1 else []
    checks = [
        *whole,
        check("each island sees only itself", [] if apart_s else ["not in time"], f"after {apart_s or 0:.2f} s"),
        check("one island at most goes on counting", both, f"{len(scenario.counted)} did"),
        check("they are one again in time", late, f"after {took}"),
        check("nothing acknowledged is lost", promises.lost(diary), f"{acknowledged} answers"),
        check("nobody reads what was never written", promises.invented(diary), "all reads"),
        check("everybody reads the same in the end", promises.disagreed(diary), "all keys"),
        check("no increment is lost or done twice", promises.miscounted(diary), "the counter"),
        check("who gets no answer is told why", promises.unclear(diary), "all refusals"),
    ]
    figures: dict[str, object] = {
        "joined_s": joined_s,
        "apart_s": apart_s,
        "island": len(scenario.island),
        "reconverged_s": None if scenario.reconverged_s == math.inf else round(scenario.reconverged_s, 3),
        "operations": len(diary.deeds),
        "acknowledged": acknowledged,
        "events": len(world.log.events),
    }
    return checks, figures
