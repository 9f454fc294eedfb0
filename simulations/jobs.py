"""Scenario `jobs`: everyone joins, jobs run, machines die, and nothing that was promised is lost.

What is drawn from the seed: slots, clocks and owners of machines, delays of ways and disks, which nodes submit, what
their tasks cost, who dies when and how, who leaves, who comes back, who loses its cable for a moment.

What is left out, because nothing is promised about it: jobs of a submitter that dies (attached jobs end with their
submitter's node), and more than two deaths at once (memory keeps a majority of five replicas, and moves them after
each death).
"""

from __future__ import annotations

import hashlib
import random
from typing import Final

import msgspec
import trio

from ..node.daemon import Node
from ..overlay.errors import PotluckError
from ..overlay.wire import values
from ..overlay.wire.control import JobOptions, NodeReports, TaskSpec
from ..overlay.wire.work import Finished, Inline, Program
from .entropy import named_stream
from .gathering import busy, start_all, start_later, until
from .sandbox import encoded_call
from .world import World

JOIN_S: Final = 20.0
"""Everyone should know everyone by then."""
SETTLE_S: Final = 5.0
"""Between two deaths, or pairs of deaths: detection and moving records take less."""
FINISH_S: Final = 120.0
"""After the last fault, for everything that is still to do."""
NODES_PER_JOB: Final = 4
DEATHS_AT_ONCE: Final = 2
_POLL_S: Final = 0.05
_TASKS_PER_BATCH: Final = 12
_TASK_S_MAX: Final = 3.0
_LONG_EVERY: Final = 16
"""One task in so many has an argument too long for a control frame."""
_LONG_BYTES: Final = 100_000
_KEYS_PER_NODE: Final = 2
_KEYS_MAX: Final = 40
_CABLE_S: Final = 1.0
_NODES_FOR_EXTRAS: Final = 5
"""From here on somebody leaves, and somebody loses its cable for a moment."""

_SOURCE: Final = b"""
def work(number, cost_s, blob=b""):
    spend(cost_s)
    return [number, number * number + 7, len(blob)]
"""
FUNCTION: Final = Program(hashlib.sha256(_SOURCE).digest(), "function", "work", "work.py", Inline(_SOURCE))
_KIND: Final = Program(hashlib.sha256(b"kind").digest(), "kind")


class Job(msgspec.Struct):
    """One job, as its submitter sees it."""

    submitter: str
    kinds: tuple[str, ...]
    """Of its instructions; none: its tasks are calls of a function."""
    survives: bool
    job_id: str = ""
    expected: dict[int, object] = {}
    reports: dict[int, list[tuple[str, Finished]]] = {}
    """By index, everything that was reported as finished, with the name of the node that did it."""

    def take(self, job_id: str, batches: list[NodeReports]) -> None:
        for batch in batches:
            for report in batch.reports:
                if isinstance(report, Finished):
                    self.reports.setdefault(report.index, []).append((batch.node, report))

    @property
    def done(self) -> bool:
        return len(self.reports) >= len(self.expected)

    def next_tasks(self, draws: random.Random, node: Node) -> list[TaskSpec]:
        return [self._next_task(draws, node) for _ in range(draws.randint(1, _TASKS_PER_BATCH))]

    def _next_task(self, draws: random.Random, node: Node) -> TaskSpec:
        index = len(self.expected)
        if self.kinds:
            kind = draws.choice(self.kinds)
            self.expected[index] = f"{kind}{index}"
            return TaskSpec(index, values.encode(f"{kind}{index}"), kind)
        blob = draws.randbytes(_LONG_BYTES) if draws.randrange(_LONG_EVERY) == 0 else b""
        self.expected[index] = [index, index * index + 7, len(blob)]
        call = encoded_call(index, draws.uniform(0, _TASK_S_MAX), blob)
        return TaskSpec(index, node.objects.keep(call, self.job_id))


class Key(msgspec.Struct):
    """A key of memory: everything that was ever written to it, and the highest version that was acknowledged."""

    attempted: set[bytes] = set()
    acknowledged: int = 0


class Death(msgspec.Struct, frozen=True):
    name: str
    power: bool
    """The machine loses its power; else the node is killed and the machine stays."""
    returns: bool


class Plan(msgspec.Struct, frozen=True):
    """What will happen, drawn before anything does."""

    jobs: tuple[Job, ...]
    deaths: tuple[tuple[Death, ...], ...]
    """Those of one group die together."""
    leaver: str
    cable: str
    """Loses its cable for a moment."""


def draw_plan(names: list[str], kill: float, draws: random.Random) -> Plan:
    submitters = sorted(draws.sample(names, max(1, len(names) // NODES_PER_JOB)))
    safe = set(submitters[: (len(submitters) + 1) // 2])
    mortals = [name for name in names if name not in safe]
    draws.shuffle(mortals)
    count = min(round(kill * len(names)), len(mortals))
    dying, living = mortals[:count], [name for name in mortals[count:] if name not in submitters]
    deaths = [Death(name, draws.random() < 0.5, returns=number == 0) for number, name in enumerate(dying)]
    groups = []
    while deaths:
        size = draws.randint(1, DEATHS_AT_ONCE)
        groups.append(tuple(deaths[:size]))
        del deaths[:size]
    kinds = tuple(sorted({name[0] for name in safe}))  # of nodes that stay, so that somebody can always do them
    jobs = tuple(
        Job(name, kinds if number % 3 == 2 else (), survives=name not in dying)
        for number, name in enumerate(submitters)
    )
    extras = living if len(names) >= _NODES_FOR_EXTRAS else []
    return Plan(jobs, tuple(groups), extras[0] if extras else "", extras[1] if len(extras) > 1 else "")


class Outcome(msgspec.Struct):
    """What has happened, for the checks."""

    plan: Plan
    joined_s: float | None = None
    deaths: list[tuple[str, float]] = []
    left: list[tuple[str, float]] = []
    keys: dict[str, Key] = {}
    unwritten: list[str] = []
    """Keys whose first write, before any fault, was not acknowledged."""
    read_faults: list[str] = []
    busy: list[str] = []
    """Nodes that still held something when all jobs were over."""


class JobsScenario:
    def __init__(self, world: World, seed: int, nodes: int, kill: float) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario jobs")
        self._names = [world.add_machine().name for _ in range(nodes)]
        self.outcome = Outcome(draw_plan(self._names, kill, self._draws))
        self._faults_over = trio.Event()

    async def play(self) -> None:
        await self._start_all()
        await self._write_all()
        async with trio.open_nursery() as nursery:
            for job in self.outcome.plan.jobs:
                nursery.start_soon(self._submit, job, named_stream(self._draws.getrandbits(64), job.submitter))
            nursery.start_soon(self._write_on, named_stream(self._draws.getrandbits(64), "writer"))
            await self._do_faults()
            self._faults_over.set()
        await self._finish()
        await self._read_all()

    async def _start_all(self) -> None:
        began_s = trio.current_time()
        await start_all(self._world, self._names, self._draws)
        if await until(self._all_know_all, JOIN_S, _POLL_S):
            self.outcome.joined_s = trio.current_time() - began_s

    def _all_know_all(self) -> bool:
        return not self.disagreements()

    def disagreements(self) -> list[str]:
        """Running nodes whose list of members is not the list of running nodes."""
        running = {machine.name for machine in self._world.running()}
        faults = []
        for name in sorted(running):
            known = {member.name for member in self._world.node(name).membership.present()}
            if known != running - {name}:
                missing, extra = sorted(running - known - {name}), sorted(known - running)
                faults.append(f"{name} misses {missing[:3]}, believes in {extra[:3]}")
        return faults

    # Memory

    async def _write_all(self) -> None:
        async with trio.open_nursery() as nursery:
            for number in range(min(_KEYS_PER_NODE * len(self._names), _KEYS_MAX)):
                self.outcome.keys[f"key/{number}"] = Key()
                nursery.start_soon(self._write, self._names[number % len(self._names)], f"key/{number}", 0)
        self.outcome.unwritten = [key for key, known in self.outcome.keys.items() if not known.acknowledged]

    async def _write_on(self, draws: random.Random) -> None:
        """A node that stays writes while others die."""
        writer, number = self.outcome.plan.jobs[0].submitter, 0
        while not self._faults_over.is_set():
            number += 1
            await self._write(writer, draws.choice(list(self.outcome.keys)), number)
            await trio.sleep(draws.uniform(0, 1))

    async def _write(self, writer: str, key: str, number: int) -> None:
        value = f"{key} {number} by {writer}".encode()
        known = self.outcome.keys[key]
        known.attempted.add(value)
        try:
            written = await self._world.node(writer).memory.set(key, value, None)
        except PotluckError as error:
            self._world.log.note(writer, "unwritten", f"{key} {number}: {error.kind}")
            return
        version = written["version"]
        assert isinstance(version, int)
        known.acknowledged = max(known.acknowledged, version)
        self._world.log.note(writer, "wrote", f"{key} {number} at {written['replicas']}")

    async def _read_all(self) -> None:
        """Every survivor reads every key."""
        async with trio.open_nursery() as nursery:
            for machine in list(self._world.running()):
                nursery.start_soon(self._read_at, machine.name)

    async def _read_at(self, reader: str) -> None:
        for key, known in self.outcome.keys.items():
            try:
                value, version = await self._world.node(reader).memory.get(key)
            except PotluckError as error:
                if known.acknowledged:
                    self.outcome.read_faults.append(f"{key} at {reader}: {error.kind}: {error}")
                continue
            if version < known.acknowledged or value not in known.attempted:
                self.outcome.read_faults.append(f"{key} at {reader}: an older value, {value!r}")

    # Jobs

    async def _submit(self, job: Job, draws: random.Random) -> None:
        """Tasks in batches for as long as there are faults, and one batch after the last; then until all are done."""
        node = self._world.node(job.submitter)
        job.job_id = node.jobs.open(JobOptions(retries=20), job.take)
        program = _KIND if job.kinds else FUNCTION
        while True:
            last = self._faults_over.is_set()
            if not self._lives(job):
                return
            node.jobs.submit(job.job_id, program, job.next_tasks(draws, node))
            if last:
                return
            with trio.move_on_after(draws.uniform(0.5, 2.5)):
                await self._faults_over.wait()

    def _lives(self, job: Job) -> bool:
        """A submitter that died and came back has forgotten its attached jobs."""
        return job.survives or job.submitter not in {name for name, _ in self.outcome.deaths}

    async def _finish(self) -> None:
        living = [job for job in self.outcome.plan.jobs if job.survives]
        await until(lambda: all(job.done for job in living), FINISH_S, _POLL_S)
        for job in living:
            self._world.log.note(job.submitter, "job done" if job.done else "job stuck", f"{len(job.reports)} tasks")
            self._world.node(job.submitter).jobs.close(job.job_id)
        await until(lambda: not busy(self._world) and not self.disagreements(), JOIN_S, _POLL_S)
        self.outcome.busy = busy(self._world)

    # Faults

    async def _do_faults(self) -> None:
        async with trio.open_nursery() as nursery:
            for group in self.outcome.plan.deaths:
                await trio.sleep(self._draws.uniform(0.5, 1.5))
                for death in group:
                    self._die(death, nursery)
                await trio.sleep(SETTLE_S)
            if self.outcome.plan.leaver:
                await self._leave(self.outcome.plan.leaver)
            if self.outcome.plan.cable:
                await self._pull_cable(self.outcome.plan.cable)

    def _die(self, death: Death, nursery: trio.Nursery) -> None:
        self.outcome.deaths.append((death.name, trio.current_time()))
        if death.power:
            self._world.power_off(death.name)
        else:
            self._world.kill(death.name)
        if death.returns:
            nursery.start_soon(start_later, self._world, death.name, SETTLE_S + self._draws.uniform(0.5, 5))

    async def _leave(self, name: str) -> None:
        await trio.sleep(self._draws.uniform(0.5, 1.5))
        self.outcome.left.append((name, trio.current_time()))
        await self._world.leave(name)
        await trio.sleep(SETTLE_S)

    async def _pull_cable(self, name: str) -> None:
        self._world.unplug(name)
        await trio.sleep(_CABLE_S)
        self._world.plug(name)
        await trio.sleep(SETTLE_S)
