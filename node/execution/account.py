"""The part of the execution engine that ends tasks, and gathers what masters are told of them.

Whatever was taken is confirmed once: finished, or handed back, unless nobody waits for it any more. Before it is
confirmed as anything but done, its master has its last checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from ...overlay.errors import Cancelled, PotluckError
from ...overlay.parcels import Parcel
from ...overlay.wire.work import ExecutionConfirmation, Fault, Finished, Report
from ..resources.grants import Grants
from .answers import cut_short, fault_for, returned, started
from .checkpoints import Checkpoints
from .dispatching import Dispatcher
from .events import Confirm, Effect, Ended, LetGo
from .metering import Metering
from .tasks import Job, Task

_LONG_BYTES: Final = 4 << 20
"""Whoever closes the last descriptor of so much memory waits until the system has cleared it away."""


class Account:
    def __init__(self, dispatcher: Dispatcher, meter: Metering) -> None:
        self.meter = meter
        self.now_s = 0.0
        """Of the step under way."""
        self.processes: dict[int, Task] = {}
        """Tasks that will still be confirmed, by the numbers of their processes, in order."""
        self.checkpoints = Checkpoints(self.report)
        self._dispatcher = dispatcher
        self._reports: dict[tuple[bytes, str], tuple[Job, list[Report]]] = {}
        self._ended: list[tuple[Task, Finished]] = []
        self._let_go: list[Parcel] = []

    @property
    def grants(self) -> Grants:
        return self._dispatcher.claims.grants

    @property
    def unfinished(self) -> int:
        return len(self.processes)

    def opened(self, task: Task) -> None:
        """It was taken."""
        self.processes[task.process.number] = task

    def stop(self, task: Task, fault: Fault) -> None:
        """Confirms a task with `fault`: at once where it has not begun, else when its worker is gone."""
        if task.begun_s is not None:
            assert task.worker is not None
            if not task.worker.dying:
                self._dispatcher.condemn(task.worker, fault)
        else:
            self._dispatcher.detach(task)
            self.finish(task, Finished(task.index, task.attempt, fault=fault))

    def drop(self, task: Task) -> None:
        """Without a word to its master."""
        self._end_here(task, Cancelled("nobody waits for it any more"))

    def tell_again(self, job: Job) -> None:
        """What its master before this one knew of what runs."""
        for task in job.tasks.values():
            if task.noticed:
                self.report(job, started(self.now_s, task))

    def drop_unbegun(self, job: Job) -> None:
        """Without a word, too: whoever is its master next places that anew."""
        for task in [task for task in job.tasks.values() if task.begun_s is None]:
            self.drop(task)

    def finish(self, task: Task, report: Finished) -> None:
        if report.fault is not None:
            self.checkpoints.tell(self.now_s, task)
        self._forget(task)
        if task.begun_s is not None:
            self._ended.append((task, report))
        task.job.remember(report)
        self.report(task.job, report)

    def hand_over(self, task: Task, reason: PotluckError) -> None:
        """Returns what has not begun."""
        if task.begun_s is None:
            self._dispatcher.detach(task)
            self.give_back(task, reason)

    def move(self, task: Task) -> None:
        """Returns it, so that it goes on elsewhere: what has begun when nothing of it runs here any more."""
        reason = Cancelled("it goes on elsewhere")
        if task.begun_s is None:
            self.hand_over(task, reason)
        else:
            assert task.worker is not None
            task.moves = True
            self._dispatcher.condemn(task.worker, fault_for(reason))

    def give_up(self, task: Task, reason: PotluckError) -> None:
        """Returns what has begun: its process ends here, and it may begin anew elsewhere."""
        self.checkpoints.tell(self.now_s, task)
        self._end_here(task, reason)
        self.report(task.job, returned(task.index, task.attempt, reason, begun=True))

    def give_back(self, task: Task, reason: PotluckError) -> None:
        self.checkpoints.tell(self.now_s, task)
        self._forget(task)
        self._broke_off(task, reason)
        self.report(task.job, returned(task.index, task.attempt, reason, begun=task.begun_s is not None))

    def _end_here(self, task: Task, reason: PotluckError) -> None:
        if task.begun_s is not None:
            assert task.worker is not None
            self._dispatcher.condemn(task.worker, None)
        else:
            self._dispatcher.detach(task)
        self._forget(task)
        self._broke_off(task, reason)

    def _broke_off(self, task: Task, reason: PotluckError) -> None:
        """What has begun here has run here, whatever becomes of it elsewhere."""
        if task.begun_s is not None:
            mesh_ahead_s = self.meter.mesh_now_s - self.now_s
            self._ended.append((task, cut_short(task, fault_for(reason), self.now_s, mesh_ahead_s)))

    def _forget(self, task: Task) -> None:
        if task.begun_s is not None:
            self.meter.charge(self.now_s, task)
        if task.worker is None or not task.worker.dying:  # else what it has is in use until that is gone
            self._dispatcher.claims.release(task)
        if isinstance(task.arguments, Parcel) and task.arguments.size_bytes >= _LONG_BYTES:
            self._let_go.append(task.arguments)
        task.arguments = None  # whoever else still knows the task
        del task.job.tasks[task.index]
        del self.processes[task.process.number]
        self.checkpoints.forget(task)
        self._dispatcher.turns.over(self.now_s, task)

    def report(self, job: Job, report: Report) -> None:
        self._reports.setdefault((job.owner, job.name), (job, []))[1].append(report)

    def collect(self) -> Iterator[Effect]:
        for job, reports in self._reports.values():
            yield Confirm(job.assigner, ExecutionConfirmation(job.name, job.epoch, reports))
        self._reports.clear()
        if self._ended:
            yield Ended(self._ended)
            self._ended = []
        if self._let_go:
            yield LetGo(self._let_go)
            self._let_go = []
