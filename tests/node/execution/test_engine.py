"""The execution engine through time: nothing is lost, nothing is confirmed twice, no sandbox is shared."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.execution import events
from potluck.node.execution.engine import Engine, Place
from potluck.node.scheduling.fcfs import FirstCome
from potluck.overlay.config import Execution
from potluck.overlay.errors import (
    Cancelled,
    LinkLost,
    NotFound,
    NoWorker,
    SandboxUnavailable,
    TaskFailed,
    TaskTimedOut,
    WorkerLost,
)
from potluck.overlay.wire.capabilities import Guarantees
from potluck.overlay.wire.work import (
    CancelInstructions,
    Fault,
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Program,
    Reference,
    Returned,
    Started,
    TaskComplete,
)
from potluck.overlay.wire.worker import LoadProgram, RunTask, WithdrawTasks

OWN, OTHER = b"own-owner", b"other-owner"
MASTERS = {b"master-0": OWN, b"master-1": OTHER}


def program(letter: str, body: Any) -> Program:
    return Program(letter.encode() * 32, "callable", body=body)


@dataclass
class Process:
    """What a worker process does, as far as the engine can tell."""

    sandbox: int
    ready: bool = False
    killed: bool = False
    queue: list[RunTask] = field(default_factory=list)
    loaded: set[int] = field(default_factory=set)
    owner_and_job: tuple[bytes, str] | None = None


class World:
    """Carries out the engine's effects and holds every confirmation against what was assigned."""

    def __init__(self, slots: int = 2, places: tuple[bool, ...] = (True,), config: Execution | None = None) -> None:
        self.now_s = 100.0
        self.slots = slots
        self.engine = Engine(
            config or Execution(pipe_window_max=8),
            FirstCome(),
            slots=slots,
            places=[Place(for_others) for for_others in places],
            own_owner=OWN,
        )
        self.processes: dict[int, Process] = {}
        self.fetches: list[int] = []
        self.open: dict[tuple[bytes, str, int], int] = {}
        """Attempt of each (owner, job, index) that is owed a confirmation."""
        self.finished: Counter[tuple[bytes, str, int, int]] = Counter()
        self.reports: list[Any] = []
        self.task_jobs: dict[int, tuple[bytes, str]] = {}
        self.step(events.Tick())

    def step(self, event: events.Event) -> list[Any]:
        before = len(self.reports)
        for effect in self.engine.step(self.now_s, event):
            getattr(self, "_" + type(effect).__name__.lower())(effect)
        self.engine.check()
        return self.reports[before:]

    def _startworker(self, effect: events.StartWorker) -> None:
        assert effect.worker not in self.processes
        self.processes[effect.worker] = Process(effect.sandbox)

    def _killworker(self, effect: events.KillWorker) -> None:
        process = self.processes[effect.worker]
        assert not process.killed
        process.killed = True

    def _send(self, effect: events.Send) -> None:
        process = self.processes[effect.worker]
        assert process.ready
        for message in effect.messages:
            if isinstance(message, LoadProgram):
                assert message.program not in process.loaded
                process.loaded.add(message.program)
            elif isinstance(message, WithdrawTasks):
                process.queue = [task for task in process.queue if task.task not in message.tasks]
            else:
                assert message.program in process.loaded
                job = self.job_of(message.task)
                assert process.owner_and_job in (None, job), "a sandbox serves one job of one owner"
                process.owner_and_job = job
                process.queue.append(message)

    def job_of(self, key: int) -> tuple[bytes, str]:
        for (owner, name), job in self.engine._jobs.items():
            if any(task.key == key for task in job.tasks.values()):
                return owner, name
        raise AssertionError("an unknown task was sent")

    def _fetch(self, effect: events.Fetch) -> None:
        self.fetches.append(effect.fetch)

    def _instructionbegins(self, effect: events.InstructionBegins) -> None:
        pass

    def _confirm(self, effect: events.Confirm) -> None:
        owner = MASTERS[effect.assigner]
        for report in effect.message.reports:
            key = (owner, effect.message.job, report.index)
            self.reports.append(report)
            if isinstance(report, Started):
                continue
            if isinstance(report, Finished):
                if not self.finished[*key, report.attempt]:
                    assert self.open.pop(key) == report.attempt, "finished once, and only what was owed"
                self.finished[*key, report.attempt] += 1
            else:
                assert self.open.pop(key) == report.attempt, "returned once, and only what was owed"

    def assign(
        self, master: bytes, job: str, indexes: list[int], *, attempt: int = 0, letter: str = "p", **options: Any
    ) -> list[Any]:
        owner = MASTERS[master]
        arguments = options.pop("arguments", Inline(b"arguments"))
        body = options.pop("body", Inline(b"body"))
        for index in indexes:
            if not any(self.finished[owner, job, index, later] for later in range(attempt, 10)):
                self.open[owner, job, index] = max(attempt, self.open.get((owner, job, index), 0))
        message = InstructionAssignment(
            job,
            options.pop("epoch", 1),
            program(letter, body),
            [Instruction(index, arguments, attempt=attempt) for index in indexes],
            **options,
        )
        return self.step(events.Assigned(master, owner, message))

    def ready(self) -> None:
        for number in [number for number, process in self.processes.items() if not process.ready]:
            self.start(number)

    def start(self, number: int) -> list[Any]:
        process = self.processes[number]
        if process.killed:
            return self.end(number)
        process.ready = True
        return self.step(events.WorkerStarted(number, Guarantees(time=True)))

    def end(self, number: int, how: str = "killed by SIGKILL") -> list[Any]:
        process = self.processes.pop(number)
        if process.ready:
            return self.step(events.WorkerGone(number, how, b"out", b"err"))
        return self.step(events.WorkerNotStarted(number, how))

    def reply(self, number: int, count: int = 1, elapsed_s: float = 1e-5, **fields: Any) -> list[Any]:
        process = self.processes[number]
        done, process.queue = process.queue[:count], process.queue[count:]
        fields.setdefault("value", Inline(b"value"))
        replies = [events.Reply(task.task, elapsed_s=elapsed_s, **fields) for task in done]
        return self.step(events.WorkerReplied(number, replies))

    def busy(self) -> list[int]:
        return [number for number, process in self.processes.items() if process.queue and not process.killed]

    def advance(self, seconds: float) -> list[Any]:
        self.now_s += seconds
        return self.step(events.Tick())


class ExecutionThroughTime(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.ended: set[tuple[bytes, str]] = set()
        self.left = False

    masters = st.sampled_from(sorted(MASTERS))
    jobs = st.sampled_from(["j1", "j2", "j3"])

    @rule(
        master=masters,
        job=jobs,
        indexes=st.lists(st.integers(0, 12), min_size=1, max_size=8, unique=True),
        attempt=st.sampled_from([0, 0, 0, 1, 2]),
        letter=st.sampled_from("pq"),
        timeout_s=st.sampled_from([None, None, 0.5]),
        by_reference=st.sampled_from([False, False, False, True]),
    )
    def assign(
        self, master: bytes, job: str, indexes: list[int], attempt: int, letter: str, timeout_s: Any, by_reference: bool
    ) -> None:
        if (MASTERS[master], job) not in self.ended:
            arguments = Reference(b"o" * 16, 5, b"h" * 20) if by_reference else Inline(b"arguments")
            self.world.assign(
                master, job, indexes, attempt=attempt, letter=letter, timeout_s=timeout_s, arguments=arguments
            )

    @rule(master=masters, job=jobs, indexes=st.lists(st.integers(0, 12), max_size=6))
    def cancel(self, master: bytes, job: str, indexes: list[int]) -> None:
        for report in self.world.step(events.CancelAsked(master, CancelInstructions(job, 1, indexes))):
            assert not isinstance(report, Returned)

    @rule(master=masters, job=jobs)
    def complete(self, master: bytes, job: str) -> None:
        self._forget(MASTERS[master], job)
        self.ended.add((MASTERS[master], job))
        self.world.step(events.JobCompleted(master, TaskComplete(job, 1)))

    @rule(master=masters)
    def master_goes(self, master: bytes) -> None:
        for job in ("j1", "j2", "j3"):
            self._forget(MASTERS[master], job)
            self.ended.add((MASTERS[master], job))
        self.world.step(events.AssignerGone(master))

    def _forget(self, owner: bytes, job: str) -> None:
        for key in [key for key in self.world.open if key[:2] == (owner, job)]:
            del self.world.open[key]

    @precondition(lambda self: self.world.fetches)
    @rule(result=st.sampled_from([Inline(b"x"), Inline(b"y"), LinkLost("gone")]))
    def fetched(self, result: Any) -> None:
        self.world.step(events.Fetched(self.world.fetches.pop(0), result))

    @precondition(lambda self: any(not process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_starts(self, data: st.DataObject) -> None:
        starting = [number for number, process in self.world.processes.items() if not process.ready]
        self.world.start(data.draw(st.sampled_from(starting)))

    @precondition(lambda self: any(not process.ready for process in self.world.processes.values()))
    @rule()
    def worker_does_not_start(self) -> None:
        starting = [number for number, process in self.world.processes.items() if not process.ready]
        self.world.end(starting[0], "no such program")

    @precondition(lambda self: self.world.busy())
    @rule(
        data=st.data(),
        count=st.integers(1, 9),
        elapsed_s=st.sampled_from([1e-5, 1e-5, 0.01, math.nan, -1.0]),
        fault=st.sampled_from([None, None, Fault(TaskFailed.wire_code, "boom"), Fault(WorkerLost.wire_code, "lie")]),
    )
    def worker_replies(self, data: st.DataObject, count: int, elapsed_s: float, fault: Fault | None) -> None:
        number = data.draw(st.sampled_from(self.world.busy()))
        for report in self.world.reply(number, count, elapsed_s, fault=fault):
            assert not isinstance(report, Finished) or report.fault is None or report.fault.code != WorkerLost.wire_code

    @precondition(lambda self: any(process.ready for process in self.world.processes.values()))
    @rule(data=st.data())
    def worker_dies(self, data: st.DataObject) -> None:
        ready = [number for number, process in self.world.processes.items() if process.ready]
        self.world.end(data.draw(st.sampled_from(ready)), "killed by SIGSEGV")

    @precondition(lambda self: self.world.busy())
    @rule()
    def worker_lies(self) -> None:
        self.world.step(events.WorkerReplied(self.world.busy()[0], [events.Reply(10**9, Inline(b"v"))]))

    @rule(seconds=st.sampled_from([0.001, 0.02, 0.06, 0.6, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule()
    def deadline_comes(self) -> None:
        deadline_s = self.world.engine.next_deadline_s(self.world.now_s)
        if deadline_s < math.inf:
            assert deadline_s > self.world.now_s, "a deadline that has passed was acted on"
            self.world.now_s = deadline_s
            self.world.step(events.Tick())

    @rule(chance=st.integers(0, 30))
    def node_leaves(self, chance: int) -> None:
        if not chance:
            self.world.step(events.HandBack())

    @invariant()
    def slots_are_not_exceeded(self) -> None:
        assert len([process for process in self.world.processes.values() if process.queue]) <= self.world.slots
        assert len(self.world.processes) <= 3 * 30

    def teardown(self) -> None:
        """Without further faults everything that is owed comes."""
        world = self.world
        for _ in range(2_000):
            if not world.open:
                break
            for number in [number for number, process in world.processes.items() if process.killed]:
                world.end(number)
            while world.fetches:
                world.step(events.Fetched(world.fetches.pop(0), Inline(b"x")))
            world.ready()
            for number in world.busy():
                world.reply(number)
            world.advance(0.001 if world.busy() else 40.0)
        assert not world.open, "everything assigned is confirmed in the end"
        assert not world.engine.unfinished


TestExecutionThroughTime = ExecutionThroughTime.TestCase
TestExecutionThroughTime.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@pytest.fixture
def world() -> World:
    one = World()
    one.ready()
    return one


M = b"master-0"


def test_a_repeated_assignment_is_answered_and_not_run_again(world: World) -> None:
    world.assign(M, "j", [1])
    (finished,) = world.reply(world.busy()[0])
    assert world.assign(M, "j", [1]) == [finished]
    assert not world.busy()


def test_a_repeated_assignment_of_a_running_task_says_that_it_runs(world: World) -> None:
    world.assign(M, "j", [1])
    assert world.assign(M, "j", [1]) == []
    assert world.advance(1.0) == [Started(1, 0)]
    assert world.assign(M, "j", [1]) == [Started(1, 0)]


def test_short_tasks_are_reported_once_and_long_ones_are_announced(world: World) -> None:
    world.assign(M, "j", [1, 2])
    first, second = world.busy()
    assert world.advance(0.005) == []
    assert [type(report) for report in world.reply(first)] == [Finished]
    assert world.advance(0.006) == [Started(2, 0)]
    assert [type(report) for report in world.reply(second)] == [Finished]


def test_short_tasks_are_handed_ahead_and_long_ones_are_not(world: World) -> None:
    world.assign(M, "j", list(range(50)))
    worker = world.busy()[0]
    assert len(world.processes[worker].queue) == 1
    world.reply(worker, elapsed_s=1e-5)
    assert len(world.processes[worker].queue) == 8
    world.assign(M, "k", list(range(50)), letter="q")
    for _ in range(100):
        for busy in world.busy():
            world.reply(busy, elapsed_s=0.1)
            assert len(world.processes[busy].queue) <= 8
        world.now_s += 0.1
    assert all(len(process.queue) <= 1 for process in world.processes.values())


def test_what_waits_behind_a_long_task_moves_to_free_slots(world: World) -> None:
    world.assign(M, "j", list(range(2)))
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 10)))
    assert {len(world.processes[number].queue) for number in (one, other)} == {4}
    world.reply(other, 4)
    assert len(world.processes[one].queue) == 4
    world.advance(0.06)
    assert len(world.processes[one].queue) == 1
    assert len(world.processes[other].queue) == 3


def test_a_timeout_ends_the_running_task_and_spares_those_behind_it(world: World) -> None:
    world.assign(M, "j", list(range(2)))
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 8)), timeout_s=0.04)
    world.now_s = world.engine.next_deadline_s(world.now_s)
    world.advance(0.0)
    world.now_s += 0.04
    world.advance(0.0)
    assert world.processes[one].killed and world.processes[other].killed
    reports = world.end(one) + world.end(other)
    faults = [report.fault.code for report in reports if isinstance(report, Finished)]
    assert faults == [TaskTimedOut.wire_code] * 2
    world.ready()
    for number in world.busy():
        world.reply(number, 9)
    assert not world.open


def test_a_dead_worker_is_named_for_the_task_it_ran_only(world: World) -> None:
    world.assign(M, "j", [0, 1])
    one, other = world.busy()
    world.reply(one), world.reply(other)
    world.assign(M, "j", list(range(2, 8)))
    (report,) = world.end(one, "killed by SIGSEGV")
    assert report.fault.code == WorkerLost.wire_code
    assert "SIGSEGV" in report.fault.message
    assert (report.stdout, report.stderr) == (b"out", b"err")
    world.ready()
    while world.busy():
        for number in world.busy():
            assert all(report.fault is None for report in world.reply(number))
    assert not world.open


def test_cancelling_confirms_the_unstarted_at_once_and_the_running_when_it_is_gone(world: World) -> None:
    world.assign(M, "j", [0, 1, 2, 3])
    reports = world.step(events.CancelAsked(M, CancelInstructions("j", 1, [0, 3])))
    assert [(report.index, report.fault.code) for report in reports] == [(3, Cancelled.wire_code)]
    (killed,) = [number for number, process in world.processes.items() if process.killed]
    (report,) = world.end(killed)
    assert (report.index, report.fault.code) == (0, Cancelled.wire_code)


def test_the_work_of_others_needs_a_sandbox_that_holds() -> None:
    world = World(places=(False,))
    (report,) = world.assign(b"master-1", "j", [1])
    assert (type(report), report.code) == (Returned, SandboxUnavailable.wire_code)
    assert world.assign(M, "j", [1]) == []
    mixed = World(places=(False, True))
    mixed.assign(b"master-1", "j", [1])
    mixed.assign(M, "j", [1])
    mixed.ready()
    assert {(mixed.processes[n].sandbox, mixed.processes[n].owner_and_job[0]) for n in mixed.busy()} == {
        (1, OTHER),
        (0, OWN),
    }


def test_a_node_without_slots_returns_everything() -> None:
    world = World(slots=0)
    (report,) = world.assign(M, "j", [1])
    assert (type(report), report.code) == (Returned, NoWorker.wire_code)
    assert not world.processes


def test_a_program_that_is_not_here_is_asked_for(world: World) -> None:
    (report,) = world.assign(M, "j", [1], body=None)
    assert (type(report), report.code) == (Returned, NotFound.wire_code)
    assert world.assign(M, "j", [1]) == []
    world.reply(world.busy()[0])
    assert world.assign(M, "j", [2], body=None) == []
    assert world.busy()


def test_an_epoch_that_is_over_is_not_obeyed(world: World) -> None:
    world.assign(M, "j", [1], epoch=3)
    world.assign(M, "j", [2], epoch=2)
    assert sum(len(process.queue) for process in world.processes.values()) == 1
    assert world.step(events.CancelAsked(M, CancelInstructions("j", 2, [1]))) == []
    world.step(events.JobCompleted(M, TaskComplete("j", 2)))
    assert world.busy()


def test_another_owner_can_neither_answer_for_nor_touch_a_job_of_the_same_name(world: World) -> None:
    world.assign(M, "j", [1])
    world.step(events.CancelAsked(b"master-1", CancelInstructions("j", 9, [1])))
    world.step(events.JobCompleted(b"master-1", TaskComplete("j", 9)))
    assert [report.index for report in world.reply(world.busy()[0])] == [1]


def test_a_leaving_node_hands_back_what_has_not_begun(world: World) -> None:
    world.assign(M, "j", list(range(5)))
    reports = world.step(events.HandBack())
    assert sorted(report.index for report in reports) == [2, 3, 4]
    assert {type(report) for report in reports} == {Returned}
    (report,) = world.assign(M, "j", [9])
    assert (type(report), report.code) == (Returned, NoWorker.wire_code)
    for number in world.busy():
        world.reply(number)
    assert not world.engine.unfinished


def test_a_sandbox_that_never_starts_gives_the_work_back_and_rests() -> None:
    world = World(slots=1)
    world.assign(M, "j", [1])
    starts, reports = 0, []
    while not reports:
        for number in list(world.processes):
            starts += 1
            reports += world.end(number, "out of memory")
        if not reports:
            world.advance(world.engine.next_deadline_s(world.now_s) - world.now_s)
    assert reports == [Returned(1, 0, SandboxUnavailable.wire_code, "out of memory")]
    assert starts <= 6
    (report,) = world.assign(M, "j", [2])
    assert report.code == SandboxUnavailable.wire_code
    world.advance(40)
    assert world.assign(M, "j", [3]) == []
    world.ready()
    assert world.busy()


def test_a_pickled_result_is_passed_on_only_where_pickles_are_opened(world: World) -> None:
    world.assign(b"master-1", "j", [1])
    (report,) = world.reply(world.busy()[0], pickled=True)
    assert report.fault is not None and report.value is None
    world.assign(b"master-1", "k", [1], trust_results=True)
    (report,) = world.reply(world.busy()[0], pickled=True)
    assert report.fault is None and report.pickled


def test_a_job_that_is_complete_leaves_no_worker_behind(world: World) -> None:
    world.assign(M, "j", [1, 2])
    leased = world.busy()
    world.reply(leased[0])
    world.step(events.JobCompleted(M, TaskComplete("j", 1)))
    assert all(world.processes[number].killed for number in leased)
    assert not world.engine.unfinished


def test_spares_wait_for_every_slot_and_are_replaced_when_leased() -> None:
    world = World(slots=3, config=replace(Execution(), spares_max=2))
    assert len(world.processes) == 2
    world.ready()
    world.assign(M, "j", [1])
    assert len(world.processes) == 3
