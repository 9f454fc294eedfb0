"""The part of the execution engine that keeps what jobs have here while they have no master.

    SERVED ──its master is gone──▶ ORPHAN ──another one asks what is here, or gives out more──▶ SERVED
                                      │ nobody ever will, or nobody does for `KEPT_S`
                                      ▼
                                    dropped

Only jobs that last get another master. What has not begun is dropped at once, and placed anew by whoever that is; what
runs goes on, and what has ended is kept: neither is done twice because a machine that did none of it has gone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from itertools import chain, islice
from typing import Final

from ...overlay.wire.work import REPORTS_MAX
from .account import Account
from .events import Disowned, Forsaken, Sought
from .tasks import Job

KEPT_S: Final = 600.0
"""Of two nodes, the other one has to start again before anybody can be master."""


class Orphans:
    """`jobs` are the engine's, by owner and name; `end` drops all of one."""

    def __init__(self, jobs: Mapping[tuple[bytes, str], Job], account: Account, end: Callable[[Job], None]) -> None:
        self._jobs = jobs
        self._account = account
        self._end = end
        self._forsaken = False
        self._taken: list[Job] = []
        """Those that have been orphaned, some of which have a master again."""

    def forsaken(self, now_s: float, event: Forsaken) -> None:
        self._forsaken = True
        for job in self.all():
            self._end(job)

    def take(self, now_s: float, job: Job) -> None:
        if self._forsaken:
            self._end(job)
            return
        self._account.drop_unbegun(job)
        job.orphaned_s = now_s
        if job not in self._taken:
            self._taken.append(job)

    def all(self) -> list[Job]:
        self._taken = [job for job in self._taken if job.orphaned_s is not None]
        return self._taken

    def sought(self, now_s: float, event: Sought) -> None:
        message = event.message
        job = self._jobs.get((event.owner, message.job))
        if job is None or job.is_outranked(event.assigner, message.epoch):
            return
        if job.obey(event.assigner, message.epoch):
            self._account.drop_unbegun(job)
            self._account.tell_again(job)
        if not (job.tasks or job.reports):
            self._end(job)

    def held(self, assigner: bytes, owner: bytes, name: str) -> list[int]:
        """Which tasks of this job of its master's run here, or have ended."""
        job = self._jobs.get((owner, name))
        if job is None or job.assigner != assigner:
            return []
        begun = (task.index for task in job.tasks.values() if task.begun_s is not None)
        return list(islice(chain(begun, job.reports), REPORTS_MAX))

    def disowned(self, now_s: float, event: Disowned) -> None:
        job = self._jobs.get((event.owner, event.job))
        if job is not None and job.orphaned_s is not None:
            self._end(job)

    def tick(self, now_s: float) -> None:
        for job in self.all():
            if _until_s(job) <= now_s:
                self._end(job)

    def next_due_s(self) -> float:
        return min(map(_until_s, self._taken), default=math.inf)


def _until_s(job: Job) -> float:
    """Infinity for one that has a master."""
    return math.inf if job.orphaned_s is None else job.orphaned_s + KEPT_S
