"""Scenario `succession`: jobs that outlive their masters. Everyone joins, lasting jobs are submitted, and in the middle
of them one of four things happens, by the seed: one machine dies, two die at once, the network falls into two islands,
or the whole mesh loses its power and comes back.

What anybody was ever told is collected from all masters all the time: of each task at most one outcome, the right one.
In the end every job that was acknowledged is over, at one master, under one epoch.

Drawn from the seed: who submits, what tasks cost, who dies when, how and whether it returns, who is on which island.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from typing import Final
from weakref import WeakKeyDictionary

import msgspec
import trio

from ..node.custody.mastery import Mastery
from ..overlay.errors import PotluckError
from ..overlay.wire import values
from ..overlay.wire.control import JobOptions, TaskSpec
from ..overlay.wire.joblog import Ended
from ..overlay.wire.questions import AskJob
from ..overlay.wire.work import Finished, Inline
from .checks import Check, check
from .entropy import named_stream
from .gathering import all_know_all, busy, start_all, start_later, until
from .jobs import FUNCTION
from .sandbox import encoded_call
from .world import World

NODES: Final = 6
NODES_MIN: Final = 2
_NODES_FOR_TWO: Final = 5
"""Where two may die at once, nothing may be lost."""
JOIN_S: Final = 20.0
FINISH_S: Final = 120.0
ASK_S: Final = 30.0
_POLL_S: Final = 0.05
_JOBS: Final = 2
_TASKS: Final = (12, 48)
_TASK_S_MAX: Final = 3.0
_AFTER_ALL: Final = 0.8
"""How often it happens when all jobs are acknowledged, and not before."""
_MASTER_DIES: Final = 0.5
"""How often one of the dead is a master at least."""
_LONG_BYTES: Final = 100_000
_PARTED_S: Final = (5.0, 20.0)
FAULTS: Final = ("one dies", "two die", "islands", "power cut")


class Job(msgspec.Struct):
    submitter: str
    once: bool
    """Its tasks must not run twice."""
    job_id: str = ""
    acknowledged: bool = False
    expected: dict[int, object] = {}
    outcomes: dict[int, set[tuple[float, bytes, int]]] = {}
    """By index, every outcome that anybody could have been told: when it ran, its value, its error's code."""
    masters: dict[tuple[str, int], float] = {}
    """Who has been its master under which epoch, and since when."""
    assigned: dict[tuple[str, int], float] = {}
    """When each of them first had a task of it run somewhere, or nothing was left to run."""
    unfenced: bool = False
    """Of two nodes that could not agree, one went on, and says so."""
    runs: dict[int, dict[tuple[str, float], float]] = {}
    """By index, where and when it was begun, as far as it ran for long enough to be seen; and when that was last."""
    running_on: dict[int, tuple[str, float]] = {}
    """What ran on machines that stayed when the master's died."""
    unanswered: dict[str, str] = {}
    """By the node that was asked, what is wrong with its answer."""

    def tell(self, report: Finished) -> None:
        value = report.value.data if isinstance(report.value, Inline) else b""
        code = report.fault.code if report.fault is not None else 0
        self.outcomes.setdefault(report.index, set()).add((report.started_s, value, code))


class Outcome(msgspec.Struct):
    fault: str
    jobs: list[Job]
    joined_s: float | None = None
    crashed_s: float = 0.0
    finished: bool = False
    several: list[str] = []
    """Jobs with more than one master in the end."""
    busy: list[str] = []


class SuccessionScenario:
    def __init__(self, world: World, seed: int, nodes: int) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario succession")
        self._names = [world.add_machine().name for _ in range(nodes)]
        fault = FAULTS[seed % len(FAULTS)]
        if fault == "two die" and nodes < _NODES_FOR_TWO:
            fault = "one dies"
        jobs = [Job(self._draws.choice(self._names), number == 1) for number in range(_JOBS)]
        self.outcome = Outcome(fault, jobs)
        self._looked: WeakKeyDictionary[Mastery, int] = WeakKeyDictionary()
        """How many entries of a master's log have been looked at."""

    async def play(self) -> None:
        began_s = trio.current_time()
        await start_all(self._world, self._names, self._draws)
        if await until(lambda: all_know_all(self._world), JOIN_S, _POLL_S):
            self.outcome.joined_s = trio.current_time() - began_s
        await until(self._has_agreed, JOIN_S, _POLL_S)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen)
            async with trio.open_nursery() as submitting:
                for job in self.outcome.jobs:
                    submitting.start_soon(self._submit, job, named_stream(self._draws.getrandbits(64), job.submitter))
                if self._draws.random() < _AFTER_ALL:
                    await until(lambda: all(job.acknowledged for job in self.outcome.jobs), JOIN_S, _POLL_S)
                await trio.sleep(self._draws.uniform(0, _TASK_S_MAX))
                self.outcome.crashed_s = trio.current_time()
                await self._strike()
            self.outcome.finished = await until(self._all_over, FINISH_S, _POLL_S)
            await until(lambda: not self._several(), JOIN_S, _POLL_S)
            nursery.cancel_scope.cancel()
        self._look()
        self.outcome.several = self._several()
        await self._ask_all()
        await until(lambda: not busy(self._world), JOIN_S, _POLL_S)
        self.outcome.busy = busy(self._world)

    def _has_agreed(self) -> bool:
        """What a mesh of any age has done: its first agreement, which needs everybody."""
        nodes = [self._world.node(machine.name) for machine in self._world.running()]
        return all(node.registers.founding.known is not None for node in nodes)

    async def _submit(self, job: Job, draws: random.Random) -> None:
        running = self._world.machines[job.submitter].running
        assert running is not None
        node = running.node
        job.job_id = node.custody.open(JobOptions(retries=20, at_most_once=job.once, lasting=True), None)
        specs = []
        for index in range(draws.randint(*_TASKS)):
            blob = draws.randbytes(_LONG_BYTES) if draws.randrange(8) == 0 else b""
            job.expected[index] = [index, index * index + 7, len(blob)]
            call = encoded_call(index, draws.uniform(0, _TASK_S_MAX), blob)
            specs.append(TaskSpec(index, node.objects.keep(call, job.job_id)))
        node.custody.submit(job.job_id, FUNCTION, specs)
        with trio.CancelScope() as scope:
            running.programs.start_soon(_cancel_at_end, scope) if running.programs is not None else None
            try:
                await node.custody.seal(job.job_id, len(job.expected))
            except PotluckError as error:
                self._world.log.note(job.submitter, "not acknowledged", error.kind)
            else:
                if self._world.machines[job.submitter].running is running:
                    job.acknowledged = True
                    self._world.log.note(job.submitter, "acknowledged", job.job_id)

    # What anybody could be told

    async def _listen(self) -> None:
        while True:
            self._look()
            await trio.sleep(_POLL_S)

    def _look(self) -> None:
        for job in self.outcome.jobs:
            self._note_runs(job)
            for name, mastery in self._masteries(job):
                self._note_master(job, name, mastery.epoch)
                job.unfenced |= mastery.unfenced
                for entry in mastery.shown_entries(self._looked.get(mastery, 0)):
                    self._looked[mastery] = self._looked.get(mastery, 0) + 1
                    if isinstance(entry, Ended):
                        for report in entry.reports:
                            job.tell(report)

    def _note_runs(self, job: Job) -> None:
        for machine in self._world.running():
            if machine.running is not None and machine.running.node.started.is_set():
                for task in machine.running.node.execution.processes.values():
                    if task.job.name == job.job_id and task.begun_s is not None:
                        job.runs.setdefault(task.index, {})[machine.name, task.begun_s] = trio.current_time()

    def _note_master(self, job: Job, name: str, epoch: int) -> None:
        now_s, life = trio.current_time(), (name, epoch)
        if life not in job.masters:
            job.masters[life] = now_s
            self._world.log.note(name, "master of", f"{job.job_id} {epoch}")
        engine = self._world.node(name).jobs.master.jobs.get(job.job_id)
        if life not in job.assigned and (engine is None or not engine.unfinished or any(engine.at.values())):
            job.assigned[life] = now_s

    def _masteries(self, job: Job) -> Iterator[tuple[str, Mastery]]:
        for machine in self._world.running():
            if machine.running is not None and machine.running.node.started.is_set():
                mastery = machine.running.node.custody.masteries.get(job.job_id)
                if mastery is not None:
                    yield machine.name, mastery

    def _all_over(self) -> bool:
        return all(self._is_over(job) for job in self.outcome.jobs if job.acknowledged)

    def _is_over(self, job: Job) -> bool:
        return any(mastery.over for _, mastery in self._masteries(job))

    def _several(self) -> list[str]:
        found = []
        for job in self.outcome.jobs:
            masters = [name for name, _ in self._masteries(job)]
            if len(masters) > 1:
                found.append(f"{job.job_id} has {', '.join(masters)}")
        return found

    # What happens

    async def _strike(self) -> None:
        match self.outcome.fault:
            case "one dies":
                await self._die(1)
            case "two die":
                await self._die(2)
            case "islands":
                await self._part()
            case _:
                await self._cut_power()

    async def _die(self, count: int) -> None:
        victims = self._draws.sample(self._names, count)
        master = self._draws.choice(self.outcome.jobs).submitter
        if master not in victims and self._draws.random() < _MASTER_DIES:
            victims[0] = master
        returning = [name for name in victims if len(self._names) == NODES_MIN or self._draws.random() < 0.5]
        self._note_what_runs_on(victims)
        for name in victims:
            if self._draws.random() < 0.5:
                self._world.power_off(name)
            else:
                self._world.kill(name)
        for name in returning:
            await start_later(self._world, name, self._draws.uniform(1, 15))

    def _note_what_runs_on(self, victims: list[str]) -> None:
        self._look()
        for job in self.outcome.jobs:
            if job.acknowledged and job.submitter in victims:
                for machine in self._world.running():
                    if machine.running is not None and machine.name not in victims:
                        for task in machine.running.node.execution.processes.values():
                            if task.job.name == job.job_id and task.begun_s is not None:
                                job.running_on[task.index] = machine.name, task.begun_s

    async def _part(self) -> None:
        side = self._draws.sample(self._names, self._draws.randint(1, max(1, len(self._names) // 2)))
        self._world.ether.partition({self._world.machines[name].address: 1 for name in side})
        self._world.log.note("", "parted", " ".join(sorted(side)))
        await trio.sleep(self._draws.uniform(*_PARTED_S))
        self._world.ether.heal()
        self._world.log.note("", "healed")

    async def _cut_power(self) -> None:
        for name in self._names:
            self._world.power_off(name)
        await trio.sleep(self._draws.uniform(0, 3))
        await start_all(self._world, self._names, self._draws)

    # What any node says

    async def _ask_all(self) -> None:
        """Every node of a job's owner answers for it."""
        async with trio.open_nursery() as nursery:
            for job in self.outcome.jobs:
                if job.acknowledged:
                    for machine in self._world.running():
                        if machine.mesh is self._world.machines[job.submitter].mesh:
                            nursery.start_soon(self._ask, machine.name, job)

    async def _ask(self, name: str, job: Job) -> None:
        """Parts of a mesh that was cut need a while to find each other again; then everybody knows."""
        job.unanswered[name] = f"{name} did not answer"
        with trio.move_on_after(ASK_S):
            while fault := await self._fault_in_answer(name, job):
                job.unanswered[name] = fault
                await trio.sleep(1)
            del job.unanswered[name]

    async def _fault_in_answer(self, name: str, job: Job) -> str:
        told: set[int] = set()
        first = 0
        while True:
            try:
                said = await self._world.node(name).questions.answer(AskJob(0, job.job_id, "tasks", first))
            except PotluckError as error:
                return f"{name}: {error}"
            told |= {line.index for line in said.lines if line.finished is not None}
            first = said.more
            if not first:
                return "" if told == set(job.expected) else f"{name} tells of {len(told)} of {len(job.expected)}"


async def _cancel_at_end(scope: trio.CancelScope) -> None:
    """Whoever submits stops with its machine."""
    try:
        await trio.sleep_forever()
    finally:
        scope.cancel()


def _wrong(job: Job, fault: str) -> Iterator[str]:
    both_go_on = job.unfenced and fault == "islands"
    for index, outcomes in sorted(job.outcomes.items()):
        if len(outcomes) > 1 and not both_go_on:
            yield f"{job.job_id}/{index} has {len(outcomes)} outcomes: {sorted(outcomes)}"
        for _, value, code in outcomes:
            if code and job.once:
                continue  # lost, and not to be run twice
            if code or values.decode(Inline(value)) != job.expected[index]:
                yield f"{job.job_id}/{index} is wrong: error {code}, {value[:40]!r}"


def _begun_again(job: Job) -> Iterator[str]:
    for index, (name, begun_s) in sorted(job.running_on.items()):
        until_s = job.runs[index][name, begun_s] + 2 * _POLL_S  # while it goes on, a copy may be begun
        if again := [run for run in job.runs[index] if run[1] > until_s]:
            yield f"{job.job_id}/{index} ran at {name} since {begun_s:.2f} s, and again: {sorted(again)}"
        if job.once and any(code for _, _, code in job.outcomes.get(index, ())):
            yield f"{job.job_id}/{index} ran at {name}, and was told to be lost"


def judge(world: World, scenario: SuccessionScenario) -> tuple[list[Check], dict[str, object]]:
    outcome = scenario.outcome
    jobs = [job for job in outcome.jobs if job.acknowledged]
    lost = [f"{job.job_id} of {job.submitter}" for job in jobs if set(job.outcomes) != set(job.expected)]
    wrong = [fault for job in outcome.jobs for fault in _wrong(job, outcome.fault)]
    joined = "" if outcome.joined_s is None else f"after {outcome.joined_s:.2f} s"
    again = [fault for job in jobs for fault in _begun_again(job)]
    ran_on = sum(len(job.running_on) for job in jobs)
    checks = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check("everyone joined and knows everyone", [] if joined else ["not in time"], joined),
        check("each task has one outcome, the right one", wrong, f"{len(outcome.jobs)} jobs"),
        check("what ran elsewhere when its master died ran on", again, f"{ran_on} tasks"),
        check("every acknowledged job is over", lost, f"{len(jobs)} jobs"),
        check("one master is left of each", outcome.several, "after the last fault"),
        check("any node answers", [fault for job in jobs for fault in job.unanswered.values()], f"{len(jobs)} jobs"),
        check("nothing is held for jobs that are over", outcome.busy, "all slots are free"),
    ]
    assigned_s = [
        job.assigned[life] - outcome.crashed_s
        for job in jobs
        for life, since_s in job.masters.items()
        if since_s > outcome.crashed_s and life in job.assigned
    ]
    figures: dict[str, object] = {
        "fault": outcome.fault,
        "acknowledged": len(jobs),
        "tasks": sum(len(job.expected) for job in jobs),
        "successions": len(assigned_s),
        "ran_on": ran_on,
        "reassigned_s": [round(took_s, 2) for took_s in sorted(assigned_s)],
    }
    return checks, figures
