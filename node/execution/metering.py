"""The part of the execution engine that charges owners for what their tasks take, and ends it where a quota does.

A task is charged as far as it was looked at, and at its end for the rest; one that was over before anybody looked, for
the time that it ran. What the node's own owner takes is nobody's affair.
"""

from __future__ import annotations

from collections.abc import Callable

from ...overlay.errors import QuotaExceeded
from ..lending.quotas import Quotas
from .tasks import Job, Task


class Metering:
    def __init__(self, quotas: Quotas, is_own: Callable[[bytes], bool]) -> None:
        self.mesh_now_s = 0.0
        self._quotas = quotas
        self._is_own = is_own

    def is_free(self, job: Job) -> bool:
        return self._is_own(job.owner) and self._is_own(job.whose)

    def charge(self, now_s: float, task: Task) -> None:
        if self.is_free(task.job):
            return
        used = task.process.used
        taken_s = task.process.times.ran_by(now_s) if used is None else used.cpu_s
        self._quotas.charge(self.mesh_now_s, task.job.whose, taken_s - task.charged_s)
        task.charged_s = max(task.charged_s, taken_s)

    def refusal(self, job: Job) -> QuotaExceeded | None:
        """Why nothing more of it may run here."""
        return None if self.is_free(job) else self._quotas.refusal(self.mesh_now_s, job.whose)

    def memory_share(self, slots: int) -> int:
        """Of a task of somebody else's that has asked for none, where memory has a quota."""
        return self._quotas.rules.memory_bytes // max(1, slots)

    @property
    def memory_bytes(self) -> int:
        """Of one owner at a time; 0: no quota."""
        return self._quotas.rules.memory_bytes
