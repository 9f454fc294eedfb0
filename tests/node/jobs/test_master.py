"""The master under everything that happens to it: crashes, repeats, forgeries, changes of mind."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from potluck.node.jobs.master import Assign, CancelAt, Drop, Effect, Master, Release, Tell
from potluck.node.jobs.placement import Worker, window
from potluck.overlay.config import Jobs
from potluck.overlay.errors import NotAllowed, NotFound, NoWorker, Unavailable, WorkerLost
from potluck.overlay.ids import NodeId
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.work import Fault, Finished, Inline, Program, Reference, Report, Returned, Started

CONFIG = Jobs(window_max=4)
GRACE_S = 5.0
LIBRARY = Program(bytes([9]) * 32, "library", body=Inline(b"files"))
PROGRAMS = {
    form: Program(
        bytes([n]) * 32,
        form,
        body=None if form == "kind" else Inline(b"body"),
        libraries=[LIBRARY.program_id] if form == "callable" else [],
    )
    for n, form in enumerate(("callable", "function", "kind"))
}
FORM_OF = {program.program_id: form for form, program in PROGRAMS.items()}
IDS = [NodeId(bytes([n]) * 20) for n in range(5)]
ABLE = {
    IDS[0]: ("here", Capabilities(slots=2, kinds=["a"], python="3.11"), True),
    IDS[1]: ("own", Capabilities(slots=1, kinds=["a", "b"], python="3.12"), True),
    IDS[2]: ("friendly", Capabilities(slots=3, kinds=["b"], python="3.11", runs_others=True), False),
    IDS[3]: ("closed", Capabilities(slots=4, kinds=["a", "b"], python="3.11"), False),
    IDS[4]: ("routes", Capabilities(slots=0, kinds=["a", "b"], python="3.11"), True),
}
TIMES_S = st.sampled_from([0.0, 1e-9, 0.001, 0.02, 1.0, 5e-324, 1e308, math.nan, math.inf, -math.inf, -1.0])

TaskKey = tuple[str, int]


def worker(node_id: NodeId, boot: int = 0) -> Worker:
    name, able, own = ABLE[node_id]
    return Worker(node_id, name, bytes([boot]) * 16, able, own=own, here=node_id == IDS[0])


class MasterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.master = Master(CONFIG, "3.11", GRACE_S)
        self.now_s = 0.0
        self.boots: dict[NodeId, int] = {}
        self.options: dict[str, JobOptions] = {}
        self.open_tasks: dict[TaskKey, tuple[str, str]] = {}
        """Submitted and not reported finished: form and kind."""
        self.outcomes: dict[TaskKey, int] = {}
        self.submitted: dict[str, int] = {}
        self.given: set[tuple[NodeId, TaskKey]] = set()
        self.programs_at: set[tuple[NodeId, str, bytes]] = set()
        self.refused: set[tuple[str, NodeId]] = set()
        self.said: list[tuple[NodeId, str, int, list[Report]]] = []
        self.dropped: set[bytes] = set()
        self.unplaceable_since_s: dict[tuple[str, bytes, str], float] = {}

    # What is seen of it

    def follow(self, effects: Sequence[Effect], before: dict[NodeId, int] | None = None) -> None:
        for effect in effects:
            match effect:
                case Assign():
                    self.assigned(effect)
                case Tell(job, node_id, reports):
                    self.told(job, node_id, reports)
                case CancelAt(node_id, message):
                    assert node_id in self.boots
                    assert all((node_id, (message.job, index)) in self.given for index in message.indexes)
                    PEER.encode(message)
                case Release(node_id, message):
                    assert message.job not in self.master.jobs
                case Drop(objects):
                    assert not self.dropped & set(objects), "arguments are dropped once"
                    self.dropped.update(objects)
        for node_id, known in self.master.workers.items():
            if before is not None and known.outstanding > before.get(node_id, 0):
                assert known.outstanding <= max(self.windows(known)), "windows are respected"

    def windows(self, known: Worker) -> list[int]:
        means = [programs.mean_s for job in self.master.jobs.values() for programs in job.programs.values()]
        return [window(known.slots, mean_s, CONFIG.window_s, CONFIG.window_max) for mean_s in means]

    def assigned(self, effect: Assign) -> None:
        node_id, message = effect.node_id, effect.assignment
        PEER.decode(PEER.encode(message)[5:])
        assert node_id in self.boots, "only those who are up are given work"
        known_at = (node_id, message.job, message.program.program_id)
        assert message.program.body is not None or known_at in self.programs_at or message.program.form == "kind"
        self.programs_at.add(known_at)
        for library in message.program.libraries:
            assert (node_id, message.job, library) in self.programs_at, "what a program needs is there before it"
        for instruction in message.instructions:
            key = (message.job, instruction.index)
            form, kind = self.open_tasks[key]
            assert (form, kind) == (FORM_OF[message.program.program_id], instruction.kind)
            assert instruction.attempt <= self.options[message.job].retries, "attempts never exceed retries + 1"
            self.allowed(node_id, message.job, form, kind)
            self.given.add((node_id, key))

    def allowed(self, node_id: NodeId, job: str, form: str, kind: str) -> None:
        name, able, own = ABLE[node_id]
        options = self.options[job]
        assert able.slots
        assert own or able.runs_others
        assert not options.confidential or node_id == IDS[0]
        assert options.on in ("", name)
        assert not kind or kind in able.kinds
        assert form != "callable" or able.python == "3.11"
        known = self.master.jobs[job].at.get(node_id, set())
        assert (job, node_id) not in self.refused or known, "who has refused a job is not asked again"

    def told(self, job: str, node_id: NodeId | None, reports: Sequence[Report]) -> None:
        for report in reports:
            key = (job, report.index)
            assert key in self.open_tasks, "nothing is told of what is finished already, or was never submitted"
            if node_id is not None:
                assert (node_id, key) in self.given, "who was never given a task has no say in it"
            if isinstance(report, Finished):
                del self.open_tasks[key]
                self.outcomes[key] = self.outcomes.get(key, 0) + 1
            else:
                assert isinstance(report, Started)

    def outstanding(self) -> dict[NodeId, int]:
        return {node_id: known.outstanding for node_id, known in self.master.workers.items()}

    # What happens to it

    @initialize(up=st.sets(st.sampled_from(IDS)), retries=st.integers(0, 3), form=st.sampled_from(sorted(PROGRAMS)))
    def some_are_up_and_have_work(self, up: set[NodeId], retries: int, form: str) -> None:
        for node_id in sorted(up):
            self.worker_up(node_id, restarted=False)
        self.open(retries, 0, confidential=False, on="")
        self.submit_to("job0", 5, form, "a" if form == "kind" else "", by_reference=True)

    @rule(node_id=st.sampled_from(IDS), restarted=st.booleans())
    def worker_up(self, node_id: NodeId, restarted: bool) -> None:
        known = node_id in self.boots
        if known and restarted:
            self.programs_at = {one for one in self.programs_at if one[0] != node_id}
        boot = self.boots.get(node_id, 0) + restarted
        self.boots[node_id] = boot
        before = self.outstanding()
        self.follow(self.master.worker_up(self.now_s, worker(node_id, boot)), before)

    @rule(node_id=st.sampled_from(IDS), how=st.sampled_from(["died", "left"]))
    def worker_gone(self, node_id: NodeId, how: str) -> None:
        self.boots.pop(node_id, None)
        self.programs_at = {one for one in self.programs_at if one[0] != node_id}
        self.follow(self.master.worker_gone(self.now_s, node_id, how))

    @rule(
        retries=st.integers(0, 3),
        priority=st.integers(-1, 1),
        confidential=st.booleans(),
        on=st.sampled_from(["", "", "", "own", "absent"]),
    )
    def open(self, retries: int, priority: int, confidential: bool, on: str) -> None:
        job = f"job{len(self.options)}"
        options = JobOptions(retries=retries, priority=priority, confidential=confidential, on=on)
        self.options[job], self.submitted[job] = options, 0
        self.master.open(job, options)

    def a_job(self, data: st.DataObject) -> str | None:
        return data.draw(st.sampled_from(sorted(self.master.jobs))) if self.master.jobs else None

    @rule(data=st.data(), count=st.integers(1, 12), form=st.sampled_from(sorted(PROGRAMS)), by_reference=st.booleans())
    def submit(self, data: st.DataObject, count: int, form: str, by_reference: bool) -> None:
        if (job := self.a_job(data)) is None:
            return
        kind = data.draw(st.sampled_from(["a", "b", "z"])) if form == "kind" else ""
        self.submit_to(job, count, form, kind, by_reference=by_reference)

    def submit_to(self, job: str, count: int, form: str, kind: str, *, by_reference: bool) -> None:
        specs = []
        for index in range(self.submitted[job], self.submitted[job] + count):
            number = (len(self.outcomes) + len(self.open_tasks)).to_bytes(16, "big")
            arguments = Reference(number, 1, bytes(20)) if by_reference else Inline(b"x")
            specs.append(TaskSpec(index, arguments, kind))
            self.open_tasks[job, index] = (form, kind)
        self.submitted[job] += count
        before = self.outstanding()
        self.follow(self.master.submit(self.now_s, job, LIBRARY, []))
        self.follow(self.master.submit(self.now_s, job, PROGRAMS[form], specs), before)

    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        if (job := self.a_job(data)) is None:
            return
        indexes = data.draw(st.lists(st.integers(0, self.submitted[job] + 2), max_size=6))
        self.follow(self.master.cancel(self.now_s, job, indexes))
        assert not {(job, index) for index in indexes} & set(self.open_tasks)

    @rule(data=st.data())
    def close(self, data: st.DataObject) -> None:
        if (job := self.a_job(data)) is not None:
            self.open_tasks = {key: what for key, what in self.open_tasks.items() if key[0] != job}
            self.follow(self.master.close(self.now_s, job))

    @rule(
        data=st.data(),
        elapsed_s=TIMES_S,
        outcome=st.sampled_from(["started", "ok", "error", "lost", "full", "missing"]),
    )
    def a_worker_reports(self, data: st.DataObject, elapsed_s: float, outcome: str) -> None:
        held = [
            (node_id, job.job_id, index)
            for job in self.master.jobs.values()
            for node_id, indexes in job.at.items()
            for index in sorted(indexes)
        ]
        if not held:
            return
        node_id, job_id, _ = data.draw(st.sampled_from(held))
        mine = [index for node, job, index in held if (node, job) == (node_id, job_id)]
        indexes = data.draw(st.lists(st.sampled_from(mine), min_size=1, max_size=4, unique=True))
        tasks = [self.master.jobs[job_id].tasks[index] for index in indexes]
        reports = [_report(outcome, task.index, task.attempt, elapsed_s) for task in tasks]
        if outcome == "full":
            self.refused.add((job_id, node_id))
        if outcome == "missing":
            self.programs_at = {one for one in self.programs_at if one[:2] != (node_id, job_id)}
        before = self.outstanding()
        self.say(node_id, job_id, 1, reports)
        if outcome in ("ok", "error"):
            assert all((job_id, index) in self.outcomes for index in indexes)
        assert len(before) == len(self.master.workers)

    def say(self, node_id: NodeId, job: str, epoch: int, reports: list[Report]) -> None:
        self.said.append((node_id, job, epoch, reports))
        self.follow(self.master.confirmed(self.now_s, node_id, job, epoch, reports))

    @rule(data=st.data())
    def an_old_report_comes_again(self, data: st.DataObject) -> None:
        """Late, twice or out of order: only a first outcome counts, and a refusal only of what is still there."""
        if self.said:
            node_id, job, epoch, reports = data.draw(st.sampled_from(self.said))
            if not any(isinstance(report, Returned) for report in reports):
                self.follow(self.master.confirmed(self.now_s, node_id, job, epoch, reports))

    @rule(data=st.data(), node_id=st.sampled_from([*IDS, NodeId(b"stranger" + bytes(12))]), attempt=st.integers(0, 3))
    def a_report_is_forged(self, data: st.DataObject, node_id: NodeId, attempt: int) -> None:
        """By one who was never given the task, or of another epoch: nothing is told and nothing changes."""
        if (job := self.a_job(data)) is None:
            return
        index = data.draw(st.integers(0, self.submitted[job] + 2))
        epoch = data.draw(st.sampled_from([0, 1, 2, (1 << 53) - 1]))
        if epoch == 1 and (node_id, (job, index)) in self.given:
            return
        before = self.outstanding()
        for outcome in ("started", "ok", "lost", "full", "missing"):
            effects = self.master.confirmed(self.now_s, node_id, job, epoch, [_report(outcome, index, attempt, 1.0)])
            assert not [effect for effect in effects if isinstance(effect, Tell)]
        assert self.outstanding() == before

    @rule(node_id=st.sampled_from(IDS), busy=st.integers(0, 100), queued=st.integers(0, 1 << 53))
    def load_reported(self, node_id: NodeId, busy: int, queued: int) -> None:
        self.follow(self.master.load_reported(self.now_s, node_id, busy, queued))

    @rule(seconds=st.floats(0, 4))
    def tick(self, seconds: float) -> None:
        self.now_s += seconds
        waited = dict(self.unplaceable_since_s)
        effects = self.master.tick(self.now_s)
        for effect in effects:
            assert isinstance(effect, Tell)
            for report in effect.reports:
                assert isinstance(report, Finished) and report.fault is not None
                assert report.fault.code == NoWorker.wire_code
                form, kind = self.open_tasks[effect.job, report.index]
                group = (effect.job, PROGRAMS[form].program_id, kind)
                assert self.now_s - waited[group] >= GRACE_S, "nothing is given up before its time"
        self.follow(effects)

    @invariant()
    def nothing_is_lost_and_nothing_happens_twice(self) -> None:
        self.master.check()
        assert set(self.master.workers) == set(self.boots)
        assert all(count == 1 for count in self.outcomes.values())
        held = {(job.job_id, index) for job in self.master.jobs.values() for index in job.tasks}
        assert held == set(self.open_tasks)
        assert all(known.outstanding >= 0 for known in self.master.workers.values())
        waiting = {
            (job.job_id, *group) for job in self.master.jobs.values() for group, tasks in job.pending.items() if tasks
        }
        self.unplaceable_since_s = {
            group: self.unplaceable_since_s.get(group, self.now_s) for group in waiting if not self.someone_for(group)
        }

    def someone_for(self, group: tuple[str, bytes, str]) -> bool:
        job, program_id, kind = group
        refused = self.master.jobs[job].refused_by
        for node_id in self.master.workers:
            try:
                self.allowed(node_id, job, FORM_OF[program_id], kind)
            except AssertionError:
                continue
            if node_id not in refused:
                return True
        return False

    def teardown(self) -> None:
        """When everyone who holds a task answers, every task comes to its one end."""
        for _ in range(1000):
            held = [
                (node_id, job.job_id, job.tasks[index])
                for job in self.master.jobs.values()
                for node_id, indexes in job.at.items()
                for index in sorted(indexes)
            ]
            if not held:
                break
            for node_id, job_id, task in held:
                self.say(node_id, job_id, 1, [_report("ok", task.index, task.attempt, 0.001)])
        self.now_s += GRACE_S + 1
        self.follow(self.master.tick(self.now_s))
        assert not self.open_tasks
        self.master.check()


def _report(outcome: str, index: int, attempt: int, elapsed_s: float) -> Report:
    match outcome:
        case "started":
            return Started(index, attempt)
        case "ok":
            return Finished(index, attempt, value=Inline(b"v"), elapsed_s=elapsed_s)
        case "error":
            return Finished(index, attempt, fault=Fault(41, "ValueError"), elapsed_s=elapsed_s)
        case "lost":
            return Finished(index, attempt, fault=Fault(WorkerLost.wire_code, "killed"))
        case "full":
            return Returned(index, attempt, NotAllowed.wire_code, "no")
        case _:
            return Returned(index, attempt, NotFound.wire_code, "program missing")


TestMaster = MasterMachine.TestCase
TestMaster.settings = settings(max_examples=settings().max_examples * 3 // 2, stateful_step_count=50)


def submitted(master: Master, count: int, form: str = "function", **options: object) -> list[Effect]:
    master.open("j", JobOptions(**options))  # type: ignore[arg-type]
    master.submit(0.0, "j", LIBRARY, [])
    return master.submit(0.0, "j", PROGRAMS[form], [TaskSpec(n, Inline(b"x")) for n in range(count)])


def placed(effects: Sequence[Effect]) -> dict[NodeId, list[int]]:
    given: dict[NodeId, list[int]] = {}
    for effect in effects:
        if isinstance(effect, Assign):
            given.setdefault(effect.node_id, []).extend(one.index for one in effect.assignment.instructions)
    return given


def finished(effects: Sequence[Effect]) -> list[Finished]:
    tells = [effect for effect in effects if isinstance(effect, Tell)]
    return [report for tell in tells for report in tell.reports if isinstance(report, Finished)]


def test_a_link_that_comes_back_is_given_everything_again_and_no_attempt_is_counted() -> None:
    master = Master(CONFIG, "3.11")
    master.worker_up(0.0, worker(IDS[0]))
    assert placed(submitted(master, 2)) == {IDS[0]: [0, 1]}
    again = master.worker_up(1.0, worker(IDS[0]))
    assert placed(again) == {IDS[0]: [0, 1]}
    assert all(
        one.attempt == 0 for effect in again if isinstance(effect, Assign) for one in effect.assignment.instructions
    )


def test_a_task_is_given_up_after_one_try_and_its_retries() -> None:
    master = Master(CONFIG, "3.11")
    master.worker_up(0.0, worker(IDS[0], 0))
    submitted(master, 1, retries=3)
    for boot in range(1, 5):
        told = finished(master.worker_up(float(boot), worker(IDS[0], boot)))
        assert bool(told) == (boot == 4)
    assert told[0].fault is not None
    assert told[0].fault.code == WorkerLost.wire_code
    assert "4 tries" in told[0].fault.message


def test_the_late_answer_of_a_node_given_up_still_counts_and_spares_the_second_run() -> None:
    master = Master(CONFIG, "3.11")
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1)
    master.worker_gone(1.0, IDS[0], "died")
    assert placed(master.worker_up(1.0, worker(IDS[1]))) == {IDS[1]: [0]}
    effects = master.confirmed(2.0, IDS[0], "j", 1, [_report("ok", 0, 0, 1.0)])
    assert len(finished(effects)) == 1
    assert [effect.node_id for effect in effects if isinstance(effect, CancelAt)] == [IDS[1]]
    assert finished(master.confirmed(3.0, IDS[1], "j", 1, [_report("ok", 0, 1, 1.0)])) == []


@pytest.mark.parametrize("elapsed_s", [math.nan, math.inf, -math.inf, -1.0, 5e-324, 1e308])
def test_a_worker_that_lies_about_its_times_stops_nobody(elapsed_s: float) -> None:
    master = Master(CONFIG, "3.11")
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 50)
    done = 0
    while held := master.jobs["j"].at[IDS[0]]:
        reports = [_report("ok", index, 0, elapsed_s) for index in sorted(held)]
        done += len(finished(master.confirmed(1.0, IDS[0], "j", 1, reports)))
        master.check()
    assert done == 50


def test_waiting_for_a_node_starts_anew_with_every_wait() -> None:
    master = Master(CONFIG, "3.11", GRACE_S)
    submitted(master, 1)
    master.cancel(1.0, "j", [0])
    master.submit(4.9, "j", PROGRAMS["function"], [TaskSpec(1, Inline(b"x"))])
    assert finished(master.tick(GRACE_S + 0.1)) == []
    assert len(finished(master.tick(4.9 + GRACE_S))) == 1


def test_higher_priority_goes_first_and_equal_ones_by_age() -> None:
    master = Master(CONFIG, "3.11")
    for job, priority in (("low", 0), ("old", 1), ("new", 1)):
        master.open(job, JobOptions(priority=priority))
        master.submit(0.0, job, PROGRAMS["function"], [TaskSpec(0, Inline(b"x"))])
    effects = master.worker_up(1.0, worker(IDS[0]))
    assert [effect.assignment.job for effect in effects if isinstance(effect, Assign)] == ["old", "new"]


def test_cancelling_more_than_one_message_may_name_takes_several() -> None:
    master = Master(Jobs(window_max=1 << 20), "3.11")
    master.worker_up(0.0, worker(IDS[0]))
    submitted(master, 1)
    master.confirmed(0.0, IDS[0], "j", 1, [_report("ok", 0, 0, 0.0)])
    count = 70_000
    master.submit(0.0, "j", PROGRAMS["function"], [TaskSpec(n, Inline(b"x")) for n in range(1, count + 1)])
    effects = [effect for effect in master.cancel(1.0, "j", range(1, count + 1)) if isinstance(effect, CancelAt)]
    assert sum(len(effect.message.indexes) for effect in effects) == count
    for effect in effects:
        assert PEER.decode(PEER.encode(effect.message)[5:]) == effect.message


def test_what_cannot_be_submitted_is_said() -> None:
    master = Master(CONFIG, "3.11")
    with pytest.raises(NotFound, match="no job"):
        master.submit(0.0, "j", PROGRAMS["function"], [])
    master.open("j", JobOptions())
    with pytest.raises(NotFound, match="body"):
        master.submit(0.0, "j", Program(bytes(32), "function"), [])
    assert master.cancel(0.0, "absent", [1]) == []
    assert master.close(0.0, "absent") == []
    assert master.worker_gone(0.0, IDS[0], "died") == []
    assert issubclass(NoWorker, Unavailable)
