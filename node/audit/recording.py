"""What execution has run, handed to the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from ...overlay.ids import NodeId
from ...overlay.parcels import Held
from ...overlay.wire.work import Finished, Inline, Reference
from ..execution.tasks import Task
from ..jobs.service import Jobs
from ..objects import Objects
from .log import AuditLog, Ran


class Recorder:
    """Leaves out what is confidential: what others keep of the log would tell of it."""

    def __init__(self, node_id: NodeId, log: AuditLog, jobs: Jobs, objects: Objects) -> None:
        self._node_id = node_id
        self._log = log
        self._jobs = jobs
        self._objects = objects

    def ended(self, runs: Sequence[tuple[Task, Finished]]) -> None:
        self._log.ran(
            Ran(job.owner, job.assigner, job.name, task.program.program.program_id, report, self._value_of(report))
            for task, report in runs
            if (job := task.job).assigner != self._node_id or not self._jobs.is_confidential(job.name)
        )

    def _value_of(self, report: Finished) -> Inline | Held | None:
        value = report.value
        return self._objects.table.get(value.object_id) if isinstance(value, Reference) else value
