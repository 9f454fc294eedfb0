"""Scenario `mixed`: programs use everything while everything goes wrong, and then nothing does.

A row of storms (`faults`), each followed by calm, in which everybody must find together again within ten seconds.
During the storms nothing may be wrong, though much may be unavailable; after the last one everything must be there.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Final

import trio

from ..node.memory import NAMESPACE
from ..overlay.ids import key_id
from . import promises
from .checks import Check, check
from .entropy import named_stream
from .faults import CALM_S, draw_plan
from .gathering import all_know_all, busy, start_all, until
from .programs import CELLS, COUNTERS, PLAIN_KEYS, Deed, Programs
from .storms import Storms
from .world import World

NODES: Final = (3, 10)
"""Drawn from the seed, where nothing else is said."""
SPAN_S: Final = 300.0
JOIN_S: Final = 20.0
RECONVERGED_S: Final = 10.0
_PATIENCE_S: Final = 120.0
"""How long a mesh that has not found together in time is watched, for the figure."""
HEALED_S: Final = 60.0
"""After the last storm everything must answer everybody, and every job be done, within this time."""
_POLL_S: Final = 0.1
_INSIST_S: Final = 1.0
_VICTIM: Final = "plain0"
"""The key whose place the liar's node is near to."""
_NODES_FOR_A_LIAR: Final = 4


def nodes_of(seed: int) -> int:
    return named_stream(seed, "scenario mixed/nodes").randint(*NODES)


class MixedScenario:
    def __init__(self, world: World, seed: int, nodes: int, *, span_s: float, kill: float, lossless: bool) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario mixed")
        liar = self._draws.randrange(nodes) if nodes >= _NODES_FOR_A_LIAR else None
        place = key_id(NAMESPACE, _VICTIM.encode())
        self._names = [world.add_machine(place if number == liar else None).name for number in range(nodes)]
        whom = "" if liar is None else self._names[liar]
        self.plan = draw_plan(self._names, whom, self._draws, span_s, lossless=lossless, kill=kill)
        self.programs = Programs(world, seed)
        self.storms = Storms(world, self._draws)
        self.joined_s: float | None = None
        self.reconverged_s: list[float] = []
        """By storm; infinite where they did not find together while they were watched."""
        self.silent: list[str] = []
        """Questions that had no answer in the end."""
        self.busy: list[str] = []

    async def play(self) -> None:
        await start_all(self._world, self._names, self._draws)
        if await until(lambda: all_know_all(self._world), JOIN_S, _POLL_S):
            self.joined_s = trio.current_time()
        await self._found(self._names[0])
        self.programs.begin()
        for storm in self.plan.storms:
            await self.storms.rage(storm)
            await self._reconverge()
            self.programs.next_generation()
        await self._end()

    async def _found(self, name: str) -> None:
        """The mesh's first agreed value comes before the storms: it needs everyone who is known."""
        running = self._world.machines[name].running
        if running is not None:
            limit_s = trio.current_time() + HEALED_S
            await self._insist(name, partial(self.programs.increment, name, running.node, "counter0"), limit_s)

    async def _reconverge(self) -> None:
        self._world.log.note("", "calm")
        began_s = trio.current_time()
        together = await until(lambda: all_know_all(self._world), _PATIENCE_S, _POLL_S)
        self.reconverged_s.append(trio.current_time() - began_s if together else math.inf)
        self._world.log.note("", "together" if together else "not together")
        await trio.sleep(CALM_S)

    # The end

    async def _end(self) -> None:
        """Everybody reads everything twice, because the first to read may mend what the next ones find; jobs are done,
        and nothing is left busy."""
        self._world.ether.weather.clear_up()
        programs = self.programs
        programs.over = True
        await until(lambda: not programs.running, HEALED_S, _POLL_S)
        for kind in ("get", "last get"):
            async with trio.open_nursery() as nursery:
                for machine in list(self._world.running()):
                    nursery.start_soon(self._read_everything, machine.name, kind)
        await until(lambda: not list(promises.unfinished(self._world, programs.diary)), HEALED_S, _POLL_S)
        for node, job in programs.diary.jobs:
            node.jobs.close(job.job_id)
        await until(lambda: not busy(self._world), HEALED_S, _POLL_S)
        self.busy = busy(self._world)

    async def _read_everything(self, name: str, kind: str) -> None:
        node, programs = self._world.node(name), self.programs
        limit_s = trio.current_time() + HEALED_S
        for what, count in (("plain", PLAIN_KEYS), ("cell", CELLS), ("counter", COUNTERS)):
            for number in range(count):
                await self._insist(name, partial(programs.read, name, node, f"{what}{number}", kind), limit_s)

    async def _insist(self, name: str, ask: Callable[[], Awaitable[Deed]], limit_s: float) -> None:
        """Asks again until there is an answer, or the time is up."""
        while self._world.is_up(name) and not (deed := await ask()).acknowledged:
            if trio.current_time() > limit_s:
                self.silent.append(f"{deed.shown()}: {deed.error}")
                return
            await trio.sleep(_INSIST_S)


def judge(world: World, scenario: MixedScenario) -> tuple[list[Check], dict[str, object]]:
    diary, joined = scenario.programs.diary, scenario.joined_s
    acknowledged = sum(deed.acknowledged for deed in diary.deeds)
    slowest_s = max(scenario.reconverged_s, default=0.0)
    tasks = sum(len(job.reports) for _, job in diary.jobs)
    checks = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check("everyone joined and knows everyone", [] if joined else ["not in time"], f"after {joined or 0:.2f} s"),
        check("nothing acknowledged is lost", promises.lost(diary), f"{acknowledged} answers"),
        check("nobody reads what was never written", promises.invented(diary), "all reads"),
        check("of all who replace a version one wins", promises.won_twice(diary), "all cells"),
        check("no increment is lost or done twice", promises.miscounted(diary), "all counters"),
        check("every history is linearizable", promises.unexplained(diary), f"{len(diary.histories)} registers"),
        check("no task is accepted twice or wrong", promises.misdone(diary), f"{tasks} tasks"),
        check("every job is done in the end", promises.unfinished(world, diary), f"{len(diary.jobs)} jobs"),
        check("every operation ends in time", promises.endless(world, diary), f"{len(diary.deeds)} operations"),
        check("who gets no answer is told why", promises.unclear(diary), "all refusals"),
        check("all find together after each storm", _apart(scenario), f"{slowest_s:.1f} s at most"),
        check("everything answers everybody in the end", scenario.silent, "all keys"),
        check("everybody reads the same in the end", promises.disagreed(diary), "all keys"),
        check("clocks agree in the end", promises.clocks_apart(world), "all nodes"),
        check("nothing is left running", scenario.busy, "all slots free, no worker but spares"),
        check("nothing piles up", promises.swollen(world, diary), "tasks, links, records, writes"),
    ]
    return checks, _figures(world, scenario)


def _apart(scenario: MixedScenario) -> Iterator[str]:
    for number, took_s in enumerate(scenario.reconverged_s):
        if took_s > RECONVERGED_S:
            yield f"storm {number}: {took_s:.1f} s"


def _figures(world: World, scenario: MixedScenario) -> dict[str, object]:
    diary, suffered = scenario.programs.diary, scenario.storms.suffered
    faults = Counter(one.fault.kind for one in suffered)
    return {
        "joined_s": scenario.joined_s,
        "storms": len(scenario.plan.storms),
        "faults": len(suffered),
        "faults_by_kind": dict(sorted(faults.items())),
        "reconverged_s_max": max(scenario.reconverged_s, default=0.0),
        "operations": len(diary.deeds),
        "acknowledged": sum(deed.acknowledged for deed in diary.deeds),
        "refused": sum(bool(deed.error) for deed in diary.deeds),
        "tasks": sum(len(job.reports) for _, job in diary.jobs),
        "events": len(world.log.events),
    }
