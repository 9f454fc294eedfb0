"""What whoever talks to this node's control protocol may do there: a program of its owner, or a task that runs here.

A task submits in the name of whoever its job belongs to, and never with more rights than it has itself: its tasks are
as confidential as it is, no more urgent, and within its limits; where it is a guest's, so are they, on every node. What
it has not uploaded or been given as a result it can neither name nor fetch. Everything else a node does for its
programs is not for tasks.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Protocol

import msgspec

from ...overlay.config import Execution
from ...overlay.errors import LimitExceeded, NotAllowed
from ...overlay.wire import control
from ...overlay.wire.codec import Message
from ...overlay.wire.control import JobOptions, NodeReports
from ...overlay.wire.work import Finished, Lineage, Payload, Reference
from ..execution.tasks import Task
from ..jobs.tasks import Origin

UNFINISHED_MAX: Final = 32_768
"""Tasks that one task may have submitted; its executor lets half as many be under way."""
UPLOADS_BYTES_MAX: Final = 1 << 30
"""At once, of a program."""
TASK_UPLOADS_BYTES_MAX: Final = 128 << 20
JOBS_MAX: Final = 65_536
"""Open at once, of a program."""
TASK_JOBS_MAX: Final = 256
_KNOWN_MAX: Final = 1 << 20
"""Objects that one conversation has uploaded or been told of."""

_OF_TASKS: Final = (
    control.Greeting,
    control.OpenJob,
    control.Submit,
    control.CancelTasks,
    control.CloseJob,
    control.OutputShown,
    control.PutPart,
    control.GetObject,
)


class Rights(Protocol):
    @property
    def origin(self) -> Origin | None:
        """Of the jobs that are opened."""

    @property
    def uploads_bytes_max(self) -> int: ...

    @property
    def jobs_max(self) -> int: ...

    def check(self, message: Message) -> None:
        """Raises NotAllowed, LimitExceeded."""

    def options(self, wanted: JobOptions) -> JobOptions:
        """What a job is opened with that was to have these. Raises NotAllowed, LimitExceeded."""

    def reported(self, batches: Iterable[NodeReports]) -> None:
        """This is about to be told."""


class OfProgram:
    """Everything."""

    origin: Origin | None = None
    uploads_bytes_max = UPLOADS_BYTES_MAX
    jobs_max = JOBS_MAX

    def check(self, message: Message) -> None:
        pass

    def options(self, wanted: JobOptions) -> JobOptions:
        return wanted

    def reported(self, batches: Iterable[NodeReports]) -> None:
        pass


class OfTask:
    """Of one conversation of a running task. `as_guest`: it is not this node's owner's."""

    uploads_bytes_max = TASK_UPLOADS_BYTES_MAX
    jobs_max = TASK_JOBS_MAX

    def __init__(self, task: Task, config: Execution, *, as_guest: bool, confidential: bool) -> None:
        job = task.job
        lineage = Lineage(f"{job.name}/{task.index}", job.root, task.depth + 1)
        self.origin: Origin | None = Origin(lineage, job.whose, as_guest)
        self._as_guest = as_guest
        self._confidential = confidential
        self._priority = task.priority
        self._limits = job.limits
        self._network = job.network
        self._depth_max = config.depth_max
        self._depth = lineage.depth
        self._unfinished = 0
        self._objects: set[bytes] = set()
        """Its uploads, and results that it was told of."""

    def check(self, message: Message) -> None:
        if not isinstance(message, _OF_TASKS):
            raise NotAllowed(f"a task cannot ask its node for {type(message).__name__}")
        if isinstance(message, control.PutPart):
            if len(self._objects) >= _KNOWN_MAX:
                raise LimitExceeded(f"a task may have uploaded or been given {_KNOWN_MAX} long payloads")
            self._objects.add(message.object_id)
        elif isinstance(message, control.GetObject):
            self._check_known(message.reference)
        elif isinstance(message, control.Submit):
            for payload in (message.program.body, *(spec.arguments for spec in message.tasks)):
                self._check_known(payload)
            self._unfinished += len(message.tasks)
            if self._unfinished > UNFINISHED_MAX:
                raise LimitExceeded(f"a task may have {UNFINISHED_MAX} unfinished tasks of its own")

    def _check_known(self, payload: Payload | None) -> None:
        if isinstance(payload, Reference) and payload.object_id not in self._objects:
            raise NotAllowed("a task can refer only to what it has uploaded or been given")

    def options(self, wanted: JobOptions) -> JobOptions:
        if wanted.lasting:
            raise NotAllowed("what a task submits ends with it, and cannot be detached")
        if self._depth > self._depth_max:
            raise LimitExceeded(f"tasks may submit tasks {self._depth_max} deep, and this would be one deeper")
        return msgspec.structs.replace(
            wanted,
            confidential=wanted.confidential or self._confidential,
            priority=min(wanted.priority, self._priority),
            cache=wanted.cache and not self._as_guest and not self._confidential,
            takes_input=False,
            limits=wanted.limits.within(self._limits),
            network=wanted.network and self._network,
        )

    def reported(self, batches: Iterable[NodeReports]) -> None:
        for batch in batches:
            for report in batch.reports:
                if isinstance(report, Finished):
                    self._unfinished -= 1
                    if isinstance(report.value, Reference):
                        self._objects.add(report.value.object_id)
