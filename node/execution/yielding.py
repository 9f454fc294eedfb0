"""The part of the execution engine that gives way to the machine's owner (`node/lending` says when).

hold       what comes from elsewhere and has not begun goes back; what has begun stands still with all it has started
go on      it goes on where it was, unless somebody has suspended it
hand back  it ends here and goes back, to be begun anew elsewhere: no loss is counted

Whoever suspends what stands still for the owner anyway, or resumes what is suspended while the owner is there, decides
what becomes of it when the owner goes. Nothing of it is told to its master: elsewhere it would run.

From elsewhere is what another node has given out, and what is another owner's. What the owner starts at this machine
runs in any case; so do tasks that tasks of the owner's have submitted here, until those go back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from ...overlay.errors import NotLent
from .account import Account
from .suspending import Suspending, is_suspended
from .tasks import Job, Task


class Yielding:
    def __init__(
        self,
        suspending: Suspending,
        account: Account,
        jobs: Callable[[], Iterable[Job]],
        is_from_elsewhere: Callable[[Job], bool],
    ) -> None:
        self._suspending = suspending
        self._account = account
        self._jobs = jobs
        self._is_from_elsewhere = is_from_elsewhere
        self._reason = ""

    def refusal(self, job: Job) -> NotLent | None:
        return NotLent(self._reason) if self._reason and self._is_from_elsewhere(job) else None

    def suspend(self, now_s: float, task: Task) -> None:
        """As somebody says."""
        if task.yields:
            task.yields = False
        else:
            self._suspending.suspend(now_s, task)

    def resume(self, now_s: float, task: Task) -> None:
        """As somebody says; at once, unless the owner is there."""
        if self.refusal(task.job) is not None:
            task.yields = True
        else:
            self._suspending.resume(now_s, task)

    def hold(self, now_s: float, reason: str) -> None:
        self._reason = reason
        for task in self._begun():
            if not is_suspended(task):
                self._suspending.suspend(now_s, task)
                task.yields = True
        for task in self._tasks():
            self._account.hand_over(task, NotLent(reason))

    def go_on(self, now_s: float) -> None:
        self._reason = ""
        for task in self._begun():
            if task.yields:
                task.yields = False
                self._suspending.resume(now_s, task)

    def hand_back(self) -> None:
        for task in self._begun():
            self._account.give_up(task, NotLent(self._reason))

    def _begun(self) -> list[Task]:
        """And not being ended."""
        begun = [task for task in self._tasks() if task.begun_s is not None]
        return [task for task in begun if task.worker is not None and not task.worker.dying]

    def _tasks(self) -> list[Task]:
        return [task for job in self._jobs() if self._is_from_elsewhere(job) for task in job.tasks.values()]
