"""The worker's side of jobs: which task runs where and when, and what its master is told. No I/O, clock or await.

A task is assigned, waits for what has to be fetched, then in the policy's queue, is handed to a worker leased to its
job, and is confirmed once. Several short tasks are handed to one worker ahead; only the one at the head of its pipe
counts as begun, the others can be taken back unharmed.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from msgspec import structs

from ...overlay.config import Execution
from ...overlay.errors import (
    Cancelled,
    LimitExceeded,
    NoWorker,
    SandboxUnavailable,
    TaskTimedOut,
    Unavailable,
    WorkerLost,
)
from ...overlay.wire.kinds import Handlers
from ...overlay.wire.work import REPORTS_MAX, ExecutionConfirmation, Report
from ..lending.quotas import Quotas
from ..processes.process import State
from ..resources.grants import Grants
from ..resources.slots import Slots
from ..scheduling.nested import DeepestFirst
from ..scheduling.policy import Policy
from . import events
from .account import Account
from .answers import cut_short, fault_for, judged, started
from .dispatching import WITHDRAW_AFTER_S, Dispatcher
from .events import Effect, Event, Reply
from .intake import Intake, Place, Places
from .kinds import KindPrograms
from .metering import Metering
from .orphans import Orphans
from .pool import Load, WorkerPool
from .standing import head_of
from .streaming import Streaming
from .suspending import Suspending, can_be, is_suspended
from .tasks import MEAN_WEIGHT, Job, Numbers, Task, Worker, is_current
from .wear import Warming, Wear
from .yielding import Yielding


class Engine:
    """`step` is the only way the state changes."""

    def __init__(
        self,
        config: Execution,
        policy: Policy[Task],
        *,
        slots: Slots,
        grants: Grants,
        quotas: Quotas,
        places: Sequence[Place],
        own_owner: bytes,
        here: bytes = b"",
        handlers: Handlers | None = None,
    ) -> None:
        self.mesh_ahead_s = 0.0
        """Mesh time minus the time of `now_s`; the shell keeps it current."""
        self._config = config
        self._policy = policy = DeepestFirst(policy)
        self._effects: list[Effect] = []
        self._numbers = Numbers()
        spares = min(config.spares_max, max(1, config.spares_per_slot * slots.count)) if slots.count else 0
        where = Places(places, own_owner, here, config)
        self.pool = WorkerPool(slots, spares=spares, sandboxes=where.used, effects=self._effects)
        self._dispatcher = Dispatcher(config, policy, self.pool, self._numbers, self._effects, grants)
        self.streaming = Streaming(self.pool, self._effects)
        self._account = Account(self._dispatcher, Metering(quotas, where.is_own))
        ready = self._dispatcher.ready
        self._intake = Intake(ready, self.pool, self._account, self.streaming, self._numbers, where, self._effects)
        self._wear, self._warming = Wear(config), Warming()
        self._intake.uses_modules = self._uses_modules
        self._intake.handlers = KindPrograms(handlers, self._numbers)
        self.orphans = Orphans(self.jobs, self._account, self._end)
        self._suspending = Suspending(self._dispatcher)
        self._yielding = Yielding(self._suspending, self._account, self.jobs.values, where.is_from_elsewhere)
        self._intake.refusal = lambda job: self._yielding.refusal(job) or self._account.meter.refusal(job)
        self._task_mean_s = 0.0
        self._handlers: Final[dict[type, Callable[[float, Any], None]]] = {
            events.Assigned: self._intake.assigned,
            events.CancelAsked: self._cancel_asked,
            events.JobCompleted: self._job_completed,
            events.AssignerGone: self._assigner_gone,
            events.Disowned: self.orphans.disowned,
            events.Forsaken: self.orphans.forsaken,
            events.Outlawed: self._outlawed,
            events.Sought: self.orphans.sought,
            events.HandBack: self._hand_back,
            events.Fetched: self._intake.fetched,
            events.WorkerStarted: self._worker_started,
            events.WorkerNotStarted: self._worker_not_started,
            events.WorkerReplied: self._worker_replied,
            events.Printed: self.streaming.printed,
            events.OutputShown: self._output_shown,
            events.Saved: self._saved,
            events.Waits: self._waits,
            events.Wants: self._wants,
            events.Hungry: self.streaming.hungry,
            events.InputCame: self._input_came,
            events.Starved: self._starved,
            events.WorkerGone: self._worker_gone,
            events.WorkerStopped: self._worker_stopped,
            events.Measured: self._measured,
            events.ActAsked: self._act_asked,
            events.Installed: self._installed,
            events.OwnerSaid: self._owner_said,
            events.Tick: self._tick,
        }

    def step(self, now_s: float, event: Event) -> list[Effect]:
        self._account.now_s = now_s
        self._account.meter.mesh_now_s = now_s + self.mesh_ahead_s
        self._handlers[type(event)](now_s, event)
        self._dispatcher.dispatch(now_s)
        for task, reason in self._dispatcher.claims.in_vain():
            self._account.hand_over(task, reason)
        if not self._intake.closed:
            self.pool.fill(now_s)
        return self._collect()

    @property
    def jobs(self) -> dict[tuple[bytes, str], Job]:
        """By owner and name."""
        return self._intake.jobs

    def begin_nothing_while(self, is_full: Callable[[], bool]) -> None:
        """Results that nobody has fetched yet take all the memory that is lent."""
        self._intake.is_full = is_full

    def load(self) -> Load:
        pool = self.pool
        slots = pool.slots
        begun = sum(worker.active or worker.stands is not None for worker in pool.workers.values())
        queued = max(0, self._account.unfinished - begun)
        chooses, gpus = self._policy.chooses, self._dispatcher.claims.grants.free_gpus
        lengths, waiting = self._policy.lengths(), self._dispatcher.standing.waiting()
        return Load(slots.count, slots.taken, queued, lengths, self._task_mean_s, chooses, gpus, waiting)

    def change_policy(self, now_s: float, policy: Policy[Task]) -> None:
        """Holds from the next step on."""
        self._policy.change(now_s, policy)
        self._dispatcher.turns.begin_anew(now_s)

    @property
    def switches(self) -> int:
        return self._dispatcher.turns.statistics.context_switches

    def statistics(self) -> dict[str, object]:
        return self._dispatcher.turns.statistics.summary(self._policy.name, self._policy.lengths())

    @property
    def processes(self) -> Mapping[int, Task]:
        """By number, in order."""
        return self._account.processes

    @property
    def unfinished(self) -> int:
        """Tasks that will still be confirmed."""
        return self._account.unfinished

    def running_on(self, worker: int) -> Task | None:
        """The task at the head of a worker's pipe; None if it has none."""
        known = self.pool.workers.get(worker)
        return known.pipe[0] if known is not None and known.pipe else None

    def running(self, *, at_most_once: bool = False) -> int:
        """Tasks that have begun, without what tasks have submitted; all of them, or those that must not run twice."""
        jobs = (job for job in self.jobs.values() if not job.depth and job.at_most_once >= at_most_once)
        return sum(task.begun_s is not None for job in jobs for task in job.tasks.values())

    def serves(self, assigner: bytes, job: str) -> bool:
        return bool(self._jobs_of(assigner, job))

    def held_for(self, assigner: bytes) -> list[ExecutionConfirmation]:
        """Of every job of this master that has anything here, which of its tasks run."""
        return [
            ExecutionConfirmation(job.name, job.epoch, _running(self._account.now_s, job))
            for job in self._jobs_of(assigner)
        ]

    def next_deadline_s(self, now_s: float) -> float:
        deadline_s = min(self._account.checkpoints.next_due_s(), self.orphans.next_due_s())
        for worker in self.pool.running():
            deadline_s = min(deadline_s, *self._deadlines_s(worker))
        if (not self._intake.closed or self._policy) and (next_try_s := self.pool.next_try_s(now_s)) is not None:
            deadline_s = min(deadline_s, next_try_s)
        return deadline_s

    # Masters

    def _cancel_asked(self, now_s: float, event: events.CancelAsked) -> None:
        message = event.message
        for job in self._jobs_of(event.assigner, message.job):
            for index in message.indexes if message.epoch >= job.epoch else ():
                task = job.tasks.get(index)
                if task is not None and not message.unbegun_only:
                    self._account.stop(task, fault_for(Cancelled("cancelled")))
                elif task is not None and not is_suspended(task):
                    self._account.hand_over(task, Cancelled("it was asked back"))

    def _job_completed(self, now_s: float, event: events.JobCompleted) -> None:
        message = event.message
        for job in self._jobs_of(event.assigner, message.job):
            if message.epoch >= job.epoch and message.passed_on:
                self.orphans.take(now_s, job)
            elif message.epoch >= job.epoch:
                self._end(job)

    def _assigner_gone(self, now_s: float, event: events.AssignerGone) -> None:
        for job in self._jobs_of(event.assigner):
            if job.lasting:
                self.orphans.take(now_s, job)
            else:
                self._end(job)

    def _outlawed(self, now_s: float, event: events.Outlawed) -> None:
        for job in [job for job in self.jobs.values() if job.owner in event.owners]:
            self._end(job)

    def _output_shown(self, now_s: float, event: events.OutputShown) -> None:
        self.streaming.shown(self._jobs_of(event.assigner, event.message.job), event.message)

    def _input_came(self, now_s: float, event: events.InputCame) -> None:
        self.streaming.fed(self._jobs_of(event.assigner, event.message.job), event.message)

    def _starved(self, now_s: float, event: events.Starved) -> None:
        lost = WorkerLost("what an earlier attempt has read of its standard input cannot be given again")
        self._dispatcher.condemn(self.pool.workers[event.worker], fault_for(lost))

    def _jobs_of(self, assigner: bytes, name: str | None = None) -> list[Job]:
        return [job for job in self.jobs.values() if job.assigner == assigner and name in (None, job.name)]

    def _end(self, job: Job) -> None:
        job.orphaned_s = None
        for task in list(job.tasks.values()):
            self._account.drop(task)
        for worker in self._intake.leave(job):
            self.pool.kill(worker)

    def _act_asked(self, now_s: float, event: events.ActAsked) -> None:
        for number in event.numbers:
            task = self.processes.get(number)
            if task is None or not can_be(event.act, task):
                continue
            if event.act == "kill":
                self._account.stop(task, fault_for(Cancelled("its process was killed")))
            elif event.act == "migrate":
                self._account.move(task)
            else:
                by = self._yielding
                (by.resume if event.act == "resume" else by.suspend)(now_s, task)
                task.noticed = True
                # It may take for ever, and that is meant: nobody is to run it a second time, and wherever it comes
                # to, it stands still there, too.
                self._account.report(task.job, started(now_s, task))

    def _owner_said(self, now_s: float, event: events.OwnerSaid) -> None:
        if event.act == "hold":
            self._yielding.hold(now_s, event.reason)
        elif event.act == "go on":
            self._yielding.go_on(now_s)
        else:
            self._yielding.hand_back()

    def _hand_back(self, now_s: float, event: events.HandBack) -> None:
        self._intake.closed = True
        reason = NoWorker("the node leaves")
        for task in [task for job in self.jobs.values() for task in job.tasks.values()]:
            suspended = is_suspended(task)
            held = self._yielding.refusal(task.job) is not None
            if task.begun_s is not None and (event.begun or held or (suspended and not task.job.at_most_once)):
                self._account.give_up(task, reason)
            elif task.begun_s is not None and suspended:
                self._suspending.resume(now_s, task)  # or the node would wait for it for ever
            elif event.begun or not task.depth:
                self._account.hand_over(task, reason)
        self.pool.drop_spares()

    # Workers

    def _worker_started(self, now_s: float, event: events.WorkerStarted) -> None:
        worker = self.pool.workers[event.worker]
        worker.ready, worker.guarantees = True, event.guarantees
        self.pool.starts[worker.sandbox].failures = 0
        if worker.dying:
            return
        self.pool.put_in_place(worker)
        for task in worker.pipe:
            self._dispatcher.send(worker, task)
        if worker.pipe:
            self._dispatcher.begin(now_s, worker.pipe[0])
        elif worker.lease is not None:
            self.pool.vacate(worker)
        else:
            self._warm(worker)

    def _uses_modules(self, names: Sequence[str]) -> None:
        if self._warming.seen(names):
            for spare in self.pool.waiting():
                self._warm(spare)

    def _warm(self, spare: Worker) -> None:
        if (message := self._warming.message) is not None:
            spare.warmed = True
            self._effects.append(events.Send(spare.number, [message]))

    def _installed(self, now_s: float, event: events.Installed) -> None:
        self.pool.renew()

    def _worker_not_started(self, now_s: float, event: events.WorkerNotStarted) -> None:
        worker = self.pool.workers[event.worker]
        was_wanted = not worker.dying
        worker.dying = True  # nothing of it is there that could be ended
        if was_wanted:
            self._start_failed(now_s, worker, event.reason)
        self._dispatcher.gone(worker)

    def _start_failed(self, now_s: float, worker: Worker, reason: str) -> None:
        starts = self.pool.starts[worker.sandbox]
        starts.failed(now_s, reason)
        if not starts.given_up(now_s):
            return
        for job in self.jobs.values():
            for task in list(job.tasks.values()) if job.sandbox == worker.sandbox and not job.lease.is_served else ():
                self._account.hand_over(task, SandboxUnavailable(reason))

    def _worker_replied(self, now_s: float, event: events.WorkerReplied) -> None:
        worker = self.pool.workers[event.worker]
        was_busy = bool(worker.pipe)
        for reply in event.replies:
            if worker.dying:
                return
            if worker.pipe and reply.task == worker.pipe[0].key:
                self._dispatcher.turns.go_on(worker)
                self._ran(now_s, worker, worker.pipe.popleft(), reply)
            elif reply.task in worker.withdrawn:
                worker.withdrawn.discard(reply.task)
            else:
                self._dispatcher.condemn(worker, fault_for(WorkerLost("the worker process broke the protocol")))
        if was_busy and not worker.pipe and not worker.dying:
            self._dispatcher.turns.idle(worker)

    def _worker_stopped(self, now_s: float, event: events.WorkerStopped) -> None:
        self._dispatcher.turns.has_stopped(self.pool.workers[event.worker])

    def _measured(self, now_s: float, event: events.Measured) -> None:
        if (task := head_of(self.pool.workers[event.worker], event.task)) is not None:
            task.process.measured(event.cpu_s, event.memory_bytes)
            self._account.meter.charge(now_s, task)
            self._end_if_over_quota(task.job)

    def _end_if_over_quota(self, job: Job) -> None:
        """With everything else of the same owner."""
        if (refusal := self._account.meter.refusal(job)) is None:
            return
        for task in [task for one in self.jobs.values() if one.whose == job.whose for task in one.tasks.values()]:
            if task.begun_s is None:
                self._account.hand_over(task, refusal)
            elif task.worker is not None and not task.worker.dying:
                self._account.give_up(task, refusal)

    def _ran(self, now_s: float, worker: Worker, task: Task, reply: Reply) -> None:
        assert task.begun_s is not None
        elapsed_s = reply.elapsed_s
        if task.process.stops or task.stood_s:  # by the worker's clock it ran while it stood still
            elapsed_s = min(elapsed_s, task.process.times.ran_by(now_s))
        self._dispatcher.turns.completed(now_s, task)
        self._wear.ran(worker, task)
        task.program.ran(elapsed_s)
        self._task_mean_s += (elapsed_s - self._task_mean_s) * (MEAN_WEIGHT if self._task_mean_s else 1)
        self.streaming.ends(task, reply.rest)
        self._dispatcher.standing.ends(worker)
        if reply.no_room and not task.job.at_most_once:
            self._account.give_back(task, Unavailable("there is no room for its result"))
        else:
            self._account.finish(task, judged(task, reply, elapsed_s, self.mesh_ahead_s, worker))
        if worker.pipe:
            self._dispatcher.begin(now_s, worker.pipe[0])

    def _worker_gone(self, now_s: float, event: events.WorkerGone) -> None:
        worker = self.pool.workers[event.worker]
        if worker.condemned is None and worker.pipe:
            lost = event.passed or WorkerLost(f"the worker process ended while it ran the task: {event.how}")
            worker.condemned = self._dispatcher.take_head(worker), fault_for(lost)
        if worker.condemned is not None:
            task, fault = worker.condemned
            if is_current(task) and task.moves:
                self._account.give_back(task, Cancelled("it goes on elsewhere"))
            elif is_current(task):
                task.streamed = task.streamed or bool(event.rest)  # a lost attempt's end is not shown
                self.streaming.ends(task, event.rest)
                report = cut_short(task, fault, now_s, self.mesh_ahead_s)
                told = structs.replace(report, stdout=event.stdout, stderr=event.stderr, guarantees=worker.guarantees)
                self._account.finish(task, told)
        elif worker.lease is None and not worker.dying:
            self.pool.starts[worker.sandbox].wasted(now_s)
        self._dispatcher.gone(worker)

    def _saved(self, now_s: float, event: events.Saved) -> None:
        task = head_of(self.pool.workers[event.worker], event.task)
        if task is not None:
            self._account.checkpoints.saved(now_s, task, event.state, pickled=event.pickled)

    def _waits(self, now_s: float, event: events.Waits) -> None:
        worker = self.pool.workers[event.worker]
        task = head_of(worker, event.task)
        if task is None:
            return
        standing = self._dispatcher.standing
        if worker.stands is None and standing.count() >= self._config.waiting_max:
            why = f"{self._config.waiting_max} tasks of this node wait for tasks that they have submitted: no more may"
            self._dispatcher.condemn(worker, fault_for(LimitExceeded(why)))
            return
        self._dispatcher.withdraw(worker)
        self._dispatcher.turns.waits(now_s, worker)
        standing.waits(worker, event.turn)
        if not task.is_parent:
            task.is_parent = task.noticed = True
            self._account.report(task.job, started(now_s, task, brief=True))

    def _wants(self, now_s: float, event: events.Wants) -> None:
        worker = self.pool.workers[event.worker]
        if head_of(worker, event.task) is not None:
            self._dispatcher.standing.wants(worker, event.turn)
            process = worker.pipe[0].process
            if worker.stands == "resuming" and process.state is State.WAITING:
                process.move(now_s, State.READY)

    def _tick(self, now_s: float, event: events.Tick) -> None:
        self._account.checkpoints.tick(now_s)
        self.orphans.tick(now_s)
        for worker in list(self.pool.running()):
            task = worker.pipe[0]
            assert task.begun_s is not None
            if task.timeout_s is not None and now_s >= _time_out_s(task):
                limit = TaskTimedOut(f"the task ran longer than its limit of {task.timeout_s:g} s")
                self._dispatcher.condemn(worker, fault_for(limit))
            elif not task.noticed and now_s >= task.begun_s + self._config.started_notice_s:
                task.noticed = True
                self._account.report(task.job, started(now_s, task, brief=True))

    def _deadlines_s(self, worker: Worker) -> tuple[float, ...]:
        task = worker.pipe[0]
        assert task.begun_s is not None
        notice_s = math.inf if task.noticed else self._config.started_notice_s
        withdraw_s = WITHDRAW_AFTER_S if self._dispatcher.could_withdraw(worker) else math.inf
        return task.begun_s + notice_s, _time_out_s(task), task.begun_s + withdraw_s, task.slice_ends_s

    # Effects

    def _collect(self) -> list[Effect]:
        effects = self._effects.copy()
        self._effects.clear()
        effects += self._dispatcher.collect()
        effects += self._account.collect()
        return effects

    def check(self) -> None:
        """Every invariant."""
        tasks = [task for job in self.jobs.values() for task in job.tasks.values()]
        assert len(tasks) == self._account.unfinished
        assert self.pool.slots.taken <= self.pool.slots.count
        for worker in self.pool.workers.values():
            still = worker.stands or worker.stopped or worker.held
            assert worker.active or not worker.pipe or still, "a task runs only in a slot"
            assert not worker.stands or (not worker.active and len(worker.pipe) == 1) or worker.dying
            assert not worker.stopped or worker.dying or (len(worker.pipe) == 1 and not worker.stands)
            assert all(task.job.lease is worker.lease for task in worker.pipe), "a worker serves one lease"
            assert all(task.worker is worker and is_current(task) for task in worker.pipe)
            assert all(task.begun_s is None for task in list(worker.pipe)[1:])
        handed = sum(len(worker.pipe) for worker in self.pool.workers.values() if not worker.stopped)
        condemned = [worker.condemned[0] for worker in self.pool.workers.values() if worker.condemned]
        fetching = [task for task in tasks if task.arguments is None or task.program.missing]
        resting = [one for one in tasks if is_suspended(one) and one.begun_s is None and one not in fetching]
        asking = sum(map(self._dispatcher.claims.asks, tasks))
        elsewhere = len(fetching) + len(resting) + asking + sum(map(is_current, condemned))
        assert len(self._policy) + handed + elsewhere == len(tasks), "none is lost"


def _time_out_s(task: Task) -> float:
    """When it will have taken as long as it may; the time that it stood still does not count."""
    assert task.begun_s is not None
    return math.inf if task.timeout_s is None else task.begun_s + task.timeout_s + task.stood_s


def _running(now_s: float, job: Job) -> list[Report]:
    begun = (task for task in job.tasks.values() if task.begun_s is not None)
    return [started(now_s, task, brief=True) for task in islice(begun, REPORTS_MAX)]
