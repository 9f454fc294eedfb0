"""What execution has run, handed to the audit log."""

from __future__ import annotations

from collections.abc import Sequence

from ...overlay.parcels import Held
from ...overlay.wire.work import Finished, Inline, Reference
from ..execution.tasks import Task
from ..objects import Objects
from .log import AuditLog, Ran


class Recorder:
    """Leaves out what is confidential: what others keep of the log would tell of it."""

    def __init__(self, log: AuditLog, objects: Objects) -> None:
        self._log = log
        self._objects = objects

    def ended(self, runs: Sequence[tuple[Task, Finished]]) -> None:
        self._log.ran(
            Ran(job.owner, job.assigner, job.name, task.program.program.program_id, report, self._value_of(report))
            for task, report in runs
            if not (job := task.job).confidential
        )

    def _value_of(self, report: Finished) -> Inline | Held | None:
        value = report.value
        return self._objects.table.get(value.object_id) if isinstance(value, Reference) else value
