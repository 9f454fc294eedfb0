"""The master under everything that happens to it: crashes, repeats, forgeries, changes of mind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from potluck.node.jobs.effects import Assign, CancelAt, Drop, Effect, Release, Tell
from potluck.node.jobs.master import Master
from potluck.node.jobs.placement import SHARED_WINDOWS, Worker, tasks_per_slot
from potluck.overlay.errors import NoWorker
from potluck.overlay.ids import NodeId
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.needs import Needs
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.work import CancelInstructions, Finished, Inline, Reference, Report, Returned, Started

from .masters import ABLE, CONFIG, FORM_OF, GRACE_S, IDS, LIBRARY, PROGRAMS, report_of, worker

TIMES_S = st.sampled_from([0.0, 1e-9, 0.001, 0.02, 1.0, 5e-324, 1e15])

TaskKey = tuple[str, int]


class MasterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.master = Master(CONFIG, "3.11", Random(0), GRACE_S)
        self.now_s = 0.0
        self.boots: dict[NodeId, int] = {}
        self.options: dict[str, JobOptions] = {}
        self.open_tasks: dict[TaskKey, tuple[str, str]] = {}
        """Submitted and not reported finished: form and kind."""
        self.outcomes: dict[TaskKey, int] = {}
        self.submitted: dict[str, int] = {}
        self.epochs: dict[str, int] = {}
        self.on_hold: dict[str, dict[int, str]] = {}
        """Jobs of an earlier master: what must not run twice and may have begun, and where."""
        self.given: set[tuple[NodeId, TaskKey]] = set()
        self.objects = 0
        self.handed_back: set[tuple[NodeId, TaskKey]] = set()
        """Given, and returned as not begun."""
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
                    if message.unbegun_only:
                        self.asked_back(node_id, message)
                    PEER.encode(message)
                case Release(node_id, message):
                    assert message.job not in self.master.jobs
                case Drop(objects):
                    assert not self.dropped & set(objects), "arguments are dropped once"
                    self.dropped.update(objects)
        for node_id, known in self.master.workers.items():
            if before is not None and known.outstanding > before.get(node_id, 0):
                together = SHARED_WINDOWS if known.chooses else 1  # where it chooses, each job has its own
                assert known.engaged <= together * max(self.windows(known)), "windows are respected"
        for job in self.master.jobs.values():
            for node_id in job.at if job.options.needs.cpus else ():
                assert len(job.at[node_id]) <= max(1, ABLE[node_id][1].slots // 2), "none of its tasks goes short"

    def asked_back(self, node_id: NodeId, message: CancelInstructions) -> None:
        job = self.master.jobs[message.job]
        holder, held = self.master.workers[node_id], len(job.at[node_id])
        of_others = holder.foreign + holder.engaged - held
        can_run = min(held, max(0, ABLE[node_id][1].slots - of_others))
        assert held - len(message.indexes) >= can_run, "it keeps what the slots that others leave it can run"
        for index in message.indexes:
            task = job.tasks[index]
            assert task.node == node_id and not task.started
            form, kind = self.open_tasks[message.job, index]
            assert any(
                other.foreign + other.engaged < other.slots
                for other in self.able_for((message.job, PROGRAMS[form].program_id, kind))
            ), "somebody has nothing to do who could run it"

    def windows(self, known: Worker) -> list[int]:
        means = [programs.mean_s for job in self.master.jobs.values() for programs in job.programs.values()]
        return [known.slots * tasks_per_slot(mean_s, CONFIG.window_s, CONFIG.window_max) for mean_s in means]

    def assigned(self, effect: Assign) -> None:
        node_id, message = effect.node_id, effect.assignment
        PEER.decode(PEER.encode(message)[5:])
        assert node_id in self.boots, "only those who are up are given work"
        known_at = (node_id, message.job, message.program.program_id)
        assert message.program.body is not None or known_at in self.programs_at or message.program.form == "kind"
        self.programs_at.add(known_at)
        for library in message.program.libraries:
            assert (node_id, message.job, library) in self.programs_at, "what a program needs is there before it"
        if message.job in self.on_hold:
            there = {(node_id, (message.job, one.index)) for one in message.instructions}
            assert there <= self.given, "nothing new is begun before all have been asked"
        for instruction in message.instructions:
            key = (message.job, instruction.index)
            form, kind = self.open_tasks[key]
            assert (form, kind) == (FORM_OF[message.program.program_id], instruction.kind)
            options = self.options[message.job]
            if options.at_most_once:
                begun_perhaps = self.given - self.handed_back
                again = (node_id, key) in begun_perhaps
                assert message.known_only == again, "what may have begun is only asked after"
                assert again or key not in {told for _, told in begun_perhaps}
                self.handed_back -= {(node_id, key)}
            assert instruction.attempt <= options.retries + options.error_retries, "attempts never exceed retries + 1"
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
        assert options.needs.cpus <= able.cpus
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
        self.open(retries, 0, confidential=False, on="", errors=0)
        self.submit_to("job0", 5, form, "a" if form == "kind" else "", by_reference=True)

    @rule(node_id=st.sampled_from(IDS), restarted=st.booleans())
    def worker_up(self, node_id: NodeId, restarted: bool) -> None:
        known = node_id in self.boots
        if known and restarted:
            self.its_life_is_over(node_id)
        boot = self.boots.get(node_id, 0) + restarted
        self.boots[node_id] = boot
        before = self.outstanding()
        self.follow(self.master.worker_up(self.now_s, worker(node_id, boot)), before)

    @rule(node_id=st.sampled_from(IDS), how=st.sampled_from(["died", "left"]))
    def worker_gone(self, node_id: NodeId, how: str) -> None:
        self.boots.pop(node_id, None)
        self.its_life_is_over(node_id)
        self.follow(self.master.worker_gone(self.now_s, node_id, how))

    def its_life_is_over(self, node_id: NodeId) -> None:
        """The next one has no programs, and may have another mind."""
        self.programs_at = {one for one in self.programs_at if one[0] != node_id}
        self.refused = {one for one in self.refused if one[1] != node_id}

    @rule(
        retries=st.integers(0, 3),
        priority=st.integers(-1, 1),
        confidential=st.booleans(),
        on=st.sampled_from(["", "", "", "own", "absent"]),
        cpus=st.sampled_from([0, 0, 2]),
        errors=st.sampled_from([0, 0, 1, 2, None]),
    )
    def open(self, retries: int, priority: int, confidential: bool, on: str, errors: int | None, cpus: int = 0) -> None:
        """`errors` None: at most once."""
        job = f"job{len(self.options)}"
        options = JobOptions(
            retries=retries,
            priority=priority,
            confidential=confidential,
            on=on,
            needs=Needs(cpus=cpus),
            error_retries=errors or 0,
            at_most_once=errors is None,
        )
        self.options[job], self.submitted[job], self.epochs[job] = options, 0, 1
        self.master.open(job, options)

    # It becomes master of what another one was

    @rule(count=st.integers(1, 12), once=st.booleans(), data=st.data())
    def a_job_is_taken_over(self, count: int, once: bool, data: st.DataObject) -> None:
        job = f"job{len(self.options)}"
        self.options[job] = JobOptions(at_most_once=once, lasting=True)
        self.submitted[job], self.epochs[job] = 0, 2
        begun = data.draw(st.dictionaries(st.integers(0, count - 1), st.sampled_from(IDS))) if once else {}
        self.on_hold[job] = {index: ABLE[node_id][0] for index, node_id in begun.items()}
        self.master.open(job, self.options[job], 2, on_hold=True)
        self.submit_to(job, count, "function", "", by_reference=False)
        assert not any(self.master.jobs[job].at.values())

    @rule(data=st.data(), node_id=st.sampled_from([*IDS, NodeId(b"stranger" + bytes(12))]))
    def a_node_says_what_it_holds(self, data: st.DataObject, node_id: NodeId) -> None:
        """At once or late, and perhaps it lies: what is elsewhere stays there, and constraints hold."""
        jobs = [job for job, epoch in self.epochs.items() if epoch > 1 and job in self.master.jobs]
        if not jobs:
            return
        job = data.draw(st.sampled_from(jobs))
        indexes = data.draw(st.lists(st.integers(0, self.submitted[job] + 2), max_size=6, unique=True))
        if self.options[job].at_most_once:  # of these the log tells who may have them
            begun = self.on_hold.get(job, {})
            indexes = [index for index in indexes if node_id in ABLE and begun.get(index) == ABLE[node_id][0]]
        tasks = self.master.jobs[job].tasks
        elsewhere = {index: tasks[index].nodes for index in indexes if index in tasks and tasks[index].nodes}
        moved = {index for index in indexes if index in tasks and (tasks[index].nodes or tasks[index].attempt)}
        self.given |= {(node_id, (job, index)) for index in indexes if index not in moved}
        self.follow(self.master.adopt(job, node_id, indexes))
        assert all(tasks[index].nodes == nodes for index, nodes in elsewhere.items())

    @rule(data=st.data())
    def all_have_been_asked(self, data: st.DataObject) -> None:
        if self.on_hold:
            self.go_on(data.draw(st.sampled_from(sorted(self.on_hold))))

    def go_on(self, job: str) -> None:
        begun = self.on_hold.pop(job)
        if job not in self.master.jobs:
            assert not self.master.resume(self.now_s, job, begun)
            return
        tasks = self.master.jobs[job].tasks
        lost = {index for index in begun if index in tasks and not tasks[index].nodes}
        self.follow(self.master.resume(self.now_s, job, begun))
        assert {(job, index) for index in lost} <= set(self.outcomes)
        assert not lost & set(tasks), "what must not run twice, and nobody holds, is never placed"

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
            self.objects += 1
            number = self.objects.to_bytes(16, "big")
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
        outcome=st.sampled_from(["started", "ok", "error", "lost", "full", "missing", "unfetched", "recalled"]),
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
        reports = [report_of(outcome, task.index, task.attempt, elapsed_s) for task in tasks]
        if outcome == "full":
            self.refused.add((job_id, node_id))
        if outcome in ("full", "missing", "unfetched", "recalled"):
            self.handed_back |= {(node_id, (job_id, index)) for index in indexes}
        if outcome == "missing":
            for task in tasks:
                needed = PROGRAMS[FORM_OF[task.program]].libraries
                self.programs_at -= {(node_id, job_id, program_id) for program_id in (task.program, *needed)}
        before = self.outstanding()
        final = [task.index for task in tasks if outcome == "ok" or task.errors == self.options[job_id].error_retries]
        self.say(node_id, job_id, self.epochs[job_id], reports)
        if outcome in ("ok", "error"):
            assert {index for index in indexes if (job_id, index) in self.outcomes} == set(final)
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
        if epoch == self.epochs[job] and (epoch > 1 or (node_id, (job, index)) in self.given):
            return
        before = self.outstanding()
        for outcome in ("started", "ok", "lost", "full", "missing"):
            effects = self.master.confirmed(self.now_s, node_id, job, epoch, [report_of(outcome, index, attempt, 1.0)])
            assert not [effect for effect in effects if isinstance(effect, Tell)]
        assert self.outstanding() == before

    @rule(
        node_id=st.sampled_from(IDS),
        busy=st.integers(0, 100),
        queued=st.integers(0, 1 << 53),
        chooses=st.booleans(),
        waiting=st.just(0) | st.integers(0, 20),
    )
    def load_reported(self, node_id: NodeId, busy: int, queued: int, chooses: bool, waiting: int) -> None:
        load = LoadReport(busy=busy, queued=queued, chooses=chooses, waiting=waiting)
        self.follow(self.master.load_reported(self.now_s, node_id, load))

    @rule(seconds=st.floats(0, 4))
    def tick(self, seconds: float) -> None:
        self.now_s += seconds
        waited = dict(self.unplaceable_since_s)
        effects = self.master.tick(self.now_s)
        for effect in effects:
            for report in effect.reports if isinstance(effect, Tell) else ():
                assert isinstance(effect, Tell)
                assert isinstance(report, Finished) and report.fault is not None
                assert report.fault.code == NoWorker.wire_code
                form, kind = self.open_tasks[effect.job, report.index]
                group = (effect.job, PROGRAMS[form].program_id, kind)
                assert self.now_s - waited[group] >= GRACE_S, "nothing is given up before its time"
        self.follow(effects)

    @rule(errors=st.sampled_from([0, 1, None]), started=st.integers(0, 4))
    def a_tail_comes(self, errors: int | None, started: int) -> None:
        """One node holds all that is left, of which it runs some for long, and others have nothing to do."""
        for job in list(self.master.jobs.values()):
            self.follow(self.master.cancel(self.now_s, job.job_id, list(job.indexes())))
        for node_id in IDS:
            if node_id in self.boots:
                self.load_reported(node_id, 0, 0, chooses=False, waiting=0)
                self.worker_gone(node_id, "left")
        self.worker_up(IDS[1], restarted=False)
        self.open(3, 0, confidential=False, on="", errors=errors)
        job_id = list(self.options)[-1]
        self.submit_to(job_id, 1, "function", "", by_reference=False)
        self.say(IDS[1], job_id, 1, [report_of("ok", 0, 0, 0.001)])
        self.submit_to(job_id, 4, "function", "", by_reference=False)
        self.say(IDS[1], job_id, 1, [report_of("started", index, 0, 0.0) for index in range(1, started + 1)])
        for node_id in (IDS[0], IDS[2]):
            self.worker_up(node_id, restarted=False)
        self.tick(2.0)
        waits, lasts = started < 4, started > 0 and errors is not None
        tasks = self.master.jobs[job_id].tasks.values()
        assert any(task.asked_back for task in tasks) == waits
        assert any(task.copy is not None for task in tasks) == (lasts and not waits)

    @invariant()
    def nothing_is_lost_and_nothing_happens_twice(self) -> None:
        self.master.check()
        assert set(self.master.workers) == set(self.boots)
        assert all(count == 1 for count in self.outcomes.values())
        held = {(job.job_id, index) for job in self.master.jobs.values() for index in job.indexes()}
        assert held == set(self.open_tasks)
        assert all(known.outstanding >= 0 for known in self.master.workers.values())
        waiting = {
            (job.job_id, *group) for job in self.master.jobs.values() for group, tasks in job.pending.items() if tasks
        }
        self.unplaceable_since_s = {
            group: self.unplaceable_since_s.get(group, self.now_s) for group in waiting if not self.someone_for(group)
        }

    def someone_for(self, group: tuple[str, bytes, str]) -> bool:
        return any(True for _ in self.able_for(group))

    def able_for(self, group: tuple[str, bytes, str]) -> Iterator[Worker]:
        job, program_id, kind = group
        refused = self.master.jobs[job].refused_by
        for node_id, known in self.master.workers.items():
            try:
                self.allowed(node_id, job, FORM_OF[program_id], kind)
            except AssertionError:
                continue
            if node_id not in refused:
                yield known

    def teardown(self) -> None:
        """When everyone who holds a task answers, every task comes to its one end."""
        for job in sorted(self.on_hold):
            self.go_on(job)
        for _ in range(1000):
            held = [
                (node_id, job.job_id, job.tasks[index])
                for job in self.master.jobs.values()
                for node_id, indexes in job.at.items()
                for index in sorted(indexes)
            ]
            if not held and not any(job.resting for job in self.master.jobs.values()):
                break
            for node_id, job_id, task in held:
                self.say(node_id, job_id, self.epochs[job_id], [report_of("ok", task.index, task.attempt, 0.001)])
            self.now_s += 10
            self.follow(self.master.tick(self.now_s))
        self.now_s += GRACE_S + 1
        self.follow(self.master.tick(self.now_s))
        assert not self.open_tasks
        self.master.check()


TestMaster = MasterMachine.TestCase
TestMaster.settings = settings(max_examples=settings().max_examples * 3 // 2, stateful_step_count=50)
