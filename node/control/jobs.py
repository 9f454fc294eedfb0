"""The jobs of one connection, from opening to closing. They end with it, all but those that last."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from ...overlay.errors import LimitExceeded, NotFound, PotluckError
from ...overlay.ids import NodeId, check_one, is_called
from ...overlay.wire import control
from ...overlay.wire.codec import Message
from ...overlay.wire.control import NodeReports
from ...overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput
from ...overlay.wire.work import Fault, Finished, Reference, Report
from .rights import Rights
from .served import Served


class OpenJobs:
    def __init__(self, node: Served, rights: Rights, post: Callable[[Message], None]) -> None:
        self._node = node
        self._rights = rights
        self._post = post
        self._passing: set[str] = set()
        """Those that end with the connection."""
        self._cached: set[str] = set()
        """Of them, those whose results may come from earlier runs."""
        self._lasting: set[str] = set()

    def open(self, wanted: control.JobOptions) -> str:
        """Its name. Raises LimitExceeded, NotFound, UsageError, NotAllowed."""
        if len(self._passing) + len(self._lasting) >= self._rights.jobs_max:
            raise LimitExceeded(f"{self._rights.jobs_max} jobs are open: close some of them")
        options = self._rights.options(wanted)
        if options.on:
            workers = self._node.jobs.master.workers.values()
            check_one(options.on, [one.node_id for one in workers if is_called(one.node_id, one.name, options.on)])
        if not options.lasting:
            return self._open_passing(options)
        job = self._node.custody.open(options, self._report)
        self._lasting.add(job)
        return job

    def _open_passing(self, options: control.JobOptions) -> str:
        report = self._node.cache.watching(self._report) if options.cache else self._report
        job = self._node.jobs.open(options, report, origin=self._rights.origin)
        self._passing.add(job)
        if options.cache:
            self._cached.add(job)
        if options.streams_output or options.takes_input:
            self._node.streams.follow(job, self._said)
        return job

    def submit(self, message: control.Submit) -> None:
        """Raises NotFound for a job of somebody else."""
        node, job = self._node, message.job
        if job not in self._passing and job not in self._lasting:
            raise NotFound(f"job {job} is not of this connection")
        for payload in (message.program.body, *(task.arguments for task in message.tasks)):
            if isinstance(payload, Reference):
                node.objects.table.adopt(payload.object_id, job)
        if job in self._cached:
            node.cache.submit(job, message.program, message.tasks, node.jobs.submit, self._report)
        elif job in self._lasting:
            node.custody.submit(job, message.program, message.tasks, partial(self._safe, job))
        else:
            node.jobs.submit(job, message.program, message.tasks)

    def refuse(self, message: control.Submit, error: PotluckError) -> None:
        """Whoever waits for these tasks must hear of it."""
        fault = Fault(error.wire_code, str(error))
        reports: list[Report] = [Finished(task.index, 0, fault=fault) for task in message.tasks]
        self._report(message.job, [NodeReports("", True, reports)])

    def cancel(self, message: control.CancelTasks) -> None:
        if message.job in self._cached:
            self._node.cache.cancel(message.job, message.indexes, self._report)
        self._node.jobs.cancel(message.job, message.indexes)

    def answer(self, source: bytes, said: OutputTaken | InputPart) -> None:
        """The program has shown output of a running task, or has input for it."""
        if said.job in self._passing:
            self._node.streams.answer(NodeId(source), said)

    def close(self, job: str) -> None:
        if job in self._lasting:
            self._lasting.discard(job)
            self._node.custody.let_go(job)
        elif job in self._passing:
            self._passing.discard(job)
            self._end(job)

    def close_all(self) -> None:
        for job in sorted(self._passing):
            self._end(job)
        for job in sorted(self._lasting):
            self._node.custody.let_go(job)

    def _end(self, job: str) -> None:
        self._node.streams.leave(job)
        if job in self._cached:
            self._cached.discard(job)
            self._node.cache.forget(job)
        self._node.jobs.close(job)

    # What the program is told

    def _report(self, job: str, batches: list[NodeReports]) -> None:
        self._rights.reported(batches)
        self._post(control.TaskReports(job, batches))

    def _safe(self, job: str, tasks: int) -> None:
        if job in self._lasting:
            self._post(control.TasksSafe(job, tasks))

    def _said(self, node_id: NodeId, said: TaskOutput | InputWanted) -> None:
        if isinstance(said, TaskOutput):
            self._post(control.Printed(node_id, said))
        else:
            self._post(control.InputAsked(node_id, said))
