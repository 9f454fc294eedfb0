"""Engine of a master: every job submitted at this node.

    PENDING ──assign──▶ ASSIGNED ──started──▶ ASSIGNED (started) ──finished──▶ gone, reported once
       ▲ ▲                 │ │ returned (no attempt counted), worker lost or node gone (attempt counted)
       │ └─────────────────┘ │                    losses used up ──▶ gone, reported as WorkerLost
       └── RESTING ◀─────────┘ failed, where errors are to be tried again
    any ──cancel──▶ gone, reported as Cancelled

A task that is assigned for long while nodes are idle may be at a second one, too: a copy. Who of the two is lost,
returns it or fails leaves it to the other, and the first outcome ends both.

Execution is at least once, or at most once where the submitter says so; acceptance exactly once: a task leaves the
table when its first outcome is accepted, and what comes later for it finds nothing.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from functools import cache, partial
from typing import Final

import msgspec

from ...overlay.backoff import doubled_s
from ...overlay.config import Jobs as JobsConfig
from ...overlay.errors import (
    BadProgram,
    Cancelled,
    LinkLost,
    NotFound,
    NotLent,
    NoWorker,
    SandboxUnavailable,
    Unavailable,
    WorkerLost,
)
from ...overlay.ids import NodeId
from ...overlay.wire.capabilities import LoadReport
from ...overlay.wire.control import JobOptions, TaskSpec
from ...overlay.wire.work import (
    Fault,
    Finished,
    Program,
    Reference,
    Report,
    Returned,
    Started,
    TaskComplete,
)
from .adopting import also_at, lost_with_master, may_hold, taken_over
from .assigning import assignments, cancellations
from .binding import task_and_target
from .effects import Drop, Effect, Note, Release, Tell
from .ends import fault_of, given_up, in_vain, why_again
from .invariants import check
from .placement import Worker, lacking, will_be_able
from .placing import Placing
from .queue import Queue
from .reach import out_of_reach
from .task import Task
from .tasks import Job, Origin, ProgramState
from .waiting import Waiting, waiting, why_not

_MEAN_WEIGHT: Final = 0.2
_PROGRAM_MISSING: Final = NotFound.wire_code
_NOT_NOW: Final = (LinkLost.wire_code, Unavailable.wire_code)
_RETURNS_MAX: Final = 16
"""A task that workers keep handing back for no lasting reason is given up, or it would go round for ever."""
_REST_MAX_S: Final = 300.0
_REFUSED_S: Final = 10.0
"""No sandbox could be started there: for want of something that may be there again."""


class Master:
    """Methods are events; each returns the effects to carry out, in order."""

    def __init__(
        self, config: JobsConfig, python: str, chance: random.Random, unplaceable_grace_s: float = 5.0
    ) -> None:
        self._config = config
        self._grace_s = unplaceable_grace_s
        self._jobs: dict[str, Job] = {}
        self._workers: dict[NodeId, Worker] = {}
        self._placing = Placing(config, python, chance, self._workers, self._jobs)
        self._unneeded: list[bytes] = []
        self.leaving = False
        """Jobs that last go on when this node is gone, and wait for that."""

    @property
    def workers(self) -> dict[NodeId, Worker]:
        return self._workers

    @property
    def jobs(self) -> dict[str, Job]:
        return self._jobs

    # Nodes

    def worker_up(self, now_s: float, worker: Worker) -> list[Effect]:
        """A node can be reached. Where it is the same life as before, what it was given is given again: it answers
        repeats without running them twice, and nothing is lost with the link that broke."""
        known = self._workers.get(worker.node_id)
        effects: list[Effect] = []
        if known is not None and known.boot_id != worker.boot_id:
            effects += self.worker_gone(now_s, worker.node_id, "restarted")
            known = None
        if known is not None:
            worker.foreign, worker.assigned = known.foreign, known.assigned
            worker.outstanding, worker.leaving = known.outstanding, known.leaving
            worker.waiting, worker.chooses, worker.closed = known.waiting, known.chooses, known.closed
        self._workers[worker.node_id] = worker
        for job in self._jobs.values():
            effects += self._again(job, worker.node_id)
        return effects + self._place(now_s)

    def _again(self, job: Job, node_id: NodeId) -> list[Effect]:
        """What this node was given may have been lost on the way, or not been obeyed."""
        tasks = [job.tasks[index] for index in sorted(job.at.get(node_id, ()))]
        for task in tasks:
            task.asked_back = False
        return [*assignments(job, node_id, tasks, known_only=job.options.at_most_once)]

    def worker_gone(self, now_s: float, node_id: NodeId, how: str) -> list[Effect]:
        """It died or left: everything it had goes back, with one attempt counted for what it may have begun."""
        worker = self._workers.pop(node_id, None)
        if worker is None:
            return []
        effects: list[Effect] = []
        for job in self._jobs.values():
            job.welcome(node_id)  # its next life may have another mind
            for programs in job.programs.values():
                programs.known_at.discard(node_id)
                programs.impossible_at.pop(node_id, None)
            job.pending.asks_anew()
            lost = [job.tasks[index] for index in sorted(job.at.pop(node_id, ()))]
            for task in lost:
                task.take_back(node_id)
            effects += self._retry(job, lost, node_id, f"node {worker.name} {how}")
        return effects + self._place(now_s)

    def apart(self, now_s: float, node_id: NodeId) -> None:
        """It cannot be reached from here, and is not said to be gone: it is given nothing more."""
        if (worker := self._workers.get(node_id)) is not None and worker.apart_since_s is None:
            worker.apart_since_s = now_s

    def heard(self, now_s: float, node_id: NodeId) -> list[Effect]:
        """It answers again, by the same link."""
        self._workers[node_id].apart_since_s = None
        return self._place(now_s)

    def load_reported(self, now_s: float, node_id: NodeId, load: LoadReport) -> list[Effect]:
        worker = self._workers.get(node_id)
        if worker is None or not worker.reported(load):
            return []
        return self._place(now_s)

    def leaves(self, node_id: NodeId) -> None:
        """It is to be given nothing more."""
        if (worker := self._workers.get(node_id)) is not None:
            worker.leaving = True

    # Submitters

    def tasks_of(self, job_id: str) -> Iterable[int]:
        """Those without an outcome."""
        job = self._jobs.get(job_id)
        return () if job is None else job.indexes()

    def explain(self, now_s: float, job_id: str, count_max: int) -> list[Waiting]:
        """Why its tasks wait that do."""
        job = self._jobs.get(job_id)
        if job is None:
            return []
        return waiting(now_s, job, self._workers, partial(self._placing.requirements, job), count_max)

    def open(
        self,
        job_id: str,
        options: JobOptions,
        epoch: int = 1,
        submitted_s: float = 0.0,
        origin: Origin | None = None,
        *,
        on_hold: bool = False,
    ) -> None:
        """`on_hold`: nothing of it is placed before `adopt`."""
        tasks: dict[int, Task] = {}
        programs: dict[bytes, ProgramState] = {}
        pending = Queue(tasks, partial(self._placing.ask, programs))
        job = Job(job_id, epoch, options, tasks, programs, pending, origin, submitted_s, on_hold=on_hold)
        self._jobs[job_id] = job

    def submit(self, now_s: float, job_id: str, program: Program, specs: Sequence[TaskSpec]) -> list[Effect]:
        """Raises NotFound for a job that is not open here, or a program that came without its body."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"no job {job_id} is open here")
        if program.program_id not in job.programs:
            if program.body is None and program.form != "kind":
                raise NotFound("a program must come with its body the first time")
            if any(library not in job.programs for library in program.libraries):
                raise NotFound("a program must come after the libraries that it needs")
            job.programs[program.program_id] = ProgramState(program, msgspec.structs.replace(program, body=None))
        job.take_in(program.program_id, specs, self._config.loose_max)
        return self._place(now_s)

    def adopt(self, job_id: str, node_id: NodeId, indexes: Sequence[int]) -> list[Effect]:
        """Tasks run on where an earlier master gave them, or have ended there: those that wait are there now. By that
        it has not heard of this master before."""
        job, worker = self._jobs.get(job_id), self._workers.get(node_id)
        if job is None or worker is None:
            return []
        again = self._again(job, node_id)
        tasks = taken_over(job, node_id, self._possible(job, worker, indexes))
        return [*again, *self._placing.give(job, node_id, tasks, known_only=True)]

    def resume(self, now_s: float, job_id: str, begun: Mapping[int, str]) -> list[Effect]:
        """A job that was opened on hold goes on. Of those that may have `begun` and must not run twice, the ones that
        no node holds are lost, for the reason beside them."""
        job = self._jobs.get(job_id)
        if job is None:
            return []
        job.on_hold = False
        job.loosen(begun)
        lost = [(task, why) for index, why in begun.items() if (task := job.tasks.get(index)) and not task.nodes]
        for task, _ in lost:
            self._accept(job, task)
        told = [Tell(job_id, None, [lost_with_master(task, why) for task, why in lost])] if lost else []
        return [*told, *self._place(now_s)]

    def _found(self, job: Job, node_id: NodeId, reports: Sequence[Report]) -> list[Effect]:
        """What runs where only an earlier master can have given it: nobody could ask that node before."""
        if job.epoch == 1 or job.on_hold:
            return []
        strange = [one.index for one in reports if isinstance(one, Started) and not job.is_given(one.index, node_id)]
        indexes = self._possible(job, self._workers[node_id], strange)
        tasks = [*taken_over(job, node_id, indexes), *also_at(job, node_id, indexes)]
        return [*self._placing.give(job, node_id, tasks, known_only=True)]

    def _possible(self, job: Job, worker: Worker, indexes: Sequence[int]) -> list[int]:
        """Those that an earlier master may have given to it."""
        job.loosen(indexes)
        fits = cache(lambda group: may_hold(worker, self._placing.requirements(job, group)))
        tasks = [task for index in indexes if (task := job.tasks.get(index)) is not None and not task.attempt]
        return [task.index for task in tasks if fits((task.program, task.kind))]

    def bind(self, job_id: str, index: int, node_id: NodeId, name: str) -> None:
        """Once this node returns the task, it goes on at the one named. Raises NotFound, NotAllowed, NoWorker."""
        job = self._jobs.get(job_id)
        if job is None:
            raise NotFound(f"no job {job_id} is open here")
        task, target = task_and_target(job, index, node_id, name, self._workers.values())
        if (lack := lacking(target, self._placing.requirements(job, (task.program, task.kind)))) is not None:
            raise NoWorker(f"{name} cannot run task {job_id}/{index}: {lack}")
        task.bound_for = target.node_id

    def cancel(self, now_s: float, job_id: str, indexes: Iterable[int]) -> list[Effect]:
        """Reported as Cancelled at once; where it runs, it is killed."""
        job = self._jobs.get(job_id)
        if job is None:
            return []
        effects: list[Effect] = []
        running: dict[NodeId, list[int]] = {}
        reports: list[Report] = []
        wanted = list(indexes)
        job.loosen(wanted)
        for index in wanted:
            task = job.tasks.get(index)
            if task is None:
                continue
            for node_id in task.nodes:
                running.setdefault(node_id, []).append(index)
            reports.append(fault_of(task, Cancelled("cancelled")))
            self._accept(job, task)
        for node_id, ours in running.items():
            effects += cancellations(job, node_id, ours)
        if reports:
            effects.append(Tell(job_id, None, reports))
        return effects + self._place(now_s)

    def close(self, now_s: float, job_id: str, *, passed_on: bool = False) -> list[Effect]:
        """The submitter wants no more of it, or is gone; or it is `passed_on` to another master, with what runs."""
        job = self._jobs.pop(job_id, None)
        if job is None:
            return []
        for node_id, indexes in job.at.items():
            if (worker := self._workers.get(node_id)) is not None:
                worker.outstanding -= len(indexes)
        over = TaskComplete(job_id, job.epoch, passed_on)
        released: list[Effect] = [Release(node_id, over) for node_id in job.at]
        return released + self._place(now_s)

    # Workers

    def confirmed(
        self, now_s: float, node_id: NodeId, job_id: str, epoch: int, reports: Sequence[Report]
    ) -> list[Effect]:
        """Whoever confirms what is over, or says that it runs, has not heard that it is."""
        job = self._jobs.get(job_id)
        if job is None:
            return [Release(node_id, TaskComplete(job_id, epoch))]
        if epoch != job.epoch:
            return []
        told: list[Report] = []
        effects: list[Effect] = []
        if node_id in self._workers:
            job.at.setdefault(node_id, set())
            effects += cancellations(job, node_id, in_vain(job, reports))
            effects += self._found(job, node_id, reports)
        for report in reports:
            task = job.tasks.get(report.index)
            if task is None or not task.may_be_answered_by(node_id):
                continue  # finished already: the first acceptance stands; or none of its business
            if isinstance(report, Finished):
                effects += self._finished(now_s, job, task, node_id, report, told)
            elif node_id in task.nodes and report.attempt == task.attempt:
                if isinstance(report, Returned):
                    effects += self._returned(now_s, job, task, node_id, report)
                else:
                    effects += self._started(now_s, job, task, node_id, report, told)
        if told:
            effects.append(Tell(job_id, node_id, told))
        return effects + self._place(now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """Gives up tasks that no node of the mesh could run for a while, and wakes those that have rested."""
        effects: list[Effect] = []
        for job in self._jobs.values():
            self._queue(job, job.rested(now_s))
            job.forget_refusals(now_s)
            for node_id, stranded in out_of_reach(now_s, job, self._workers, partial(self._placing.able, job)):
                self._take_back(job, node_id, stranded)
            for group, since_s in list(job.pending.unplaceable_since_s.items()):
                if now_s - since_s < self._grace_s or (self.leaving and job.options.lasting):
                    continue
                needs = self._placing.requirements(job, group)
                if self._placing.able(job, group) or will_be_able(self._workers, needs):
                    continue
                tasks = job.impatient(group)
                reason = NoWorker(why_not(job, group, needs, self._workers.values()))
                for task in tasks:
                    self._accept(job, task)
                if tasks:
                    effects.append(Tell(job.job_id, None, [fault_of(task, reason) for task in tasks]))
        return effects + self._place(now_s) + self._placing.use_idle(now_s)

    def check(self) -> None:
        """Every invariant."""
        check(self._workers, self._jobs.values())

    def _finished(
        self, now_s: float, job: Job, task: Task, node_id: NodeId, report: Finished, told: list[Report]
    ) -> list[Effect]:
        fault = report.fault
        current = node_id in task.nodes and report.attempt == task.attempt
        if fault is not None and fault.code == WorkerLost.wire_code:
            if not current:
                return []
            self._unassign(job, task, node_id)
            return self._retry(job, [task], node_id, fault.message, report)
        if fault is not None and task.errors < job.options.error_retries:
            if current:
                self._rest(now_s, job, task, node_id, fault)
            return []
        programs = job.programs[task.program]
        if fault is None:
            sample_s, mean_s = report.elapsed_s, programs.mean_s
            programs.mean_s = sample_s if mean_s is None else mean_s + _MEAN_WEIGHT * (sample_s - mean_s)
            job.pending.asks_anew((task.program, task.kind))
        effects: list[Effect] = []
        for other in task.nodes:
            effects += cancellations(job, other, [task.index]) if other != node_id else []
        self._accept(job, task)
        told.append(report)
        return effects

    def _started(
        self, now_s: float, job: Job, task: Task, node_id: NodeId, report: Started, told: list[Report]
    ) -> list[Effect]:
        checkpoint = report.checkpoint if task.came(report.checkpoint) else None
        before = task.suspended
        if node_id == task.node:
            task.started_s = now_s - report.ran_s if task.started_s is None else task.started_s
            task.is_parent |= report.waits
            task.suspended = report.suspended
            told.append(msgspec.structs.replace(report, checkpoint=None))
        is_news = checkpoint is not None or task.suspended != before
        return [Note(job.job_id, task.index, task.suspended, checkpoint)] if is_news else []

    def _returned(self, now_s: float, job: Job, task: Task, node_id: NodeId, report: Returned) -> list[Effect]:
        was_asked = task.asked_back
        bound_for, task.bound_for = task.bound_for, None
        self._unassign(job, task, node_id)
        if report.begun and job.options.at_most_once and not (bound_for and task.checkpoint):
            return self._retry(job, [task], node_id, report.reason)
        task.attempt += report.begun
        if bound_for in self._placing.able(job, (task.program, task.kind)) and not task.nodes:
            assert bound_for is not None
            task.arrive(bound_for)
            return [*self._placing.give(job, bound_for, [task])]
        if report.code == _PROGRAM_MISSING:
            programs = job.programs[task.program]
            for program_id in (task.program, *programs.program.libraries):
                job.programs[program_id].known_at.discard(node_id)
            task.returns += 1
        elif report.code == BadProgram.wire_code:
            job.programs[task.program].impossible_at[node_id] = report.reason
            job.pending.asks_anew((task.program, task.kind))
        elif report.code == NotLent.wire_code:
            self._workers[node_id].closed = report.reason  # until it says otherwise
        elif report.code in _NOT_NOW:
            if not task.nodes:
                why = f"it could not be begun at {self._workers[node_id].name}: {report.reason}"
                job.resting[task.index] = now_s + task.fetched_again_s(why)
            return []
        elif report.code == Cancelled.wire_code:
            task.returns += not was_asked
        else:
            job.refused_by[node_id] = report.reason  # every node says so once in its life, however many there are
            if report.code == SandboxUnavailable.wire_code:
                job.refused_until_s[node_id] = now_s + _REFUSED_S
        if task.nodes:
            return []
        self._queue(job, [task], first=True)
        if task.returns <= _RETURNS_MAX:
            return []
        self._accept(job, task)
        return [Tell(job.job_id, None, [fault_of(task, NoWorker(f"no node could begin it: {report.reason}"))])]

    def _retry(
        self, job: Job, tasks: list[Task], node_id: NodeId, why: str, last: Finished | None = None
    ) -> list[Effect]:
        """Tasks whose worker was lost: once more, or given up. Those that run elsewhere, too, go on there. `last`: how
        the only one ended, with what it had printed."""
        ended: list[Report] = []
        again: list[Task] = []
        for task in [one for one in tasks if not one.nodes]:
            task.attempt += 1
            task.losses += not task.suspended or job.options.at_most_once  # who stands still has lost nothing by it
            if task.losses > job.losses_max:
                ended.append(given_up(job, task, why, last))
                self._accept(job, task)
            else:
                again.append(task)
        self._queue(job, again, first=True)
        return [Tell(job.job_id, node_id, ended)] if ended else []

    def _rest(self, now_s: float, job: Job, task: Task, node_id: NodeId, fault: Fault) -> None:
        """It failed: once more, after a pause that doubles from one failure to the next."""
        self._unassign(job, task, node_id)
        if task.nodes:
            return
        job.resting[task.index] = now_s + doubled_s(job.options.backoff_s, task.errors, _REST_MAX_S)
        task.errors += 1
        task.why_it_rests = why_again(job, task, self._workers[node_id].name, fault)
        task.unfetched = 0
        task.attempt += 1

    def _take_back(self, job: Job, node_id: NodeId, tasks: list[Task]) -> None:
        """It is nobody's fault, and does not count: what it says of them in the end is heard all the same."""
        for task in tasks:
            self._unassign(job, task, node_id)
            task.attempt += not task.nodes
        self._queue(job, [task for task in tasks if not task.nodes], first=True)

    def _queue(self, job: Job, tasks: list[Task], *, first: bool = False) -> None:
        for task in reversed(tasks) if first else tasks:
            if first:
                job.pending.appendleft((task.program, task.kind), task)
            else:
                job.pending.append((task.program, task.kind), task)

    def _accept(self, job: Job, task: Task) -> None:
        """The task has its outcome and leaves every table."""
        if task.nodes:
            for node_id in task.nodes:
                self._unassign(job, task, node_id)
        elif job.resting.pop(task.index, None) is None:
            job.pending.discard((task.program, task.kind), task)
        job.tasks.pop(task.index, None)
        if isinstance(task.arguments, Reference):
            self._unneeded.append(task.arguments.object_id)

    def _unassign(self, job: Job, task: Task, node_id: NodeId) -> None:
        job.at[node_id].discard(task.index)
        if (worker := self._workers.get(node_id)) is not None:
            worker.outstanding -= 1
        task.take_back(node_id)

    def _place(self, now_s: float) -> list[Effect]:
        """What can be given out now, and arguments that nobody needs any more."""
        effects = self._placing.place(now_s)
        if self._unneeded:
            effects.append(Drop(self._unneeded))
            self._unneeded = []
        return effects
