"""The part of the execution engine that keeps what running tasks say to go on from, and tells their masters.

Where the last checkpoint of a task lies, and what becomes of it:

    its task says one             at its node, in place of the one before; its master is told at once, or as soon as it
                                  has not been told for `TOLD_EVERY_S`: of many in a row the newest
    its worker ends, it fails,    its master is told what it was not, and only then of the end: the next run, there or
    is moved or given back        elsewhere, begins with the newest
    it is suspended               stays where it is, and so does its process; should that be lost, as above
    its node is lost              its master has what it was told
    its master is lost            of a job that lasts, the log has it, here and at the deputies (`Came`); of another the
                                  program submits the task anew, from its beginning
    it has its outcome            gone everywhere

Properties: a checkpoint is whole, and a run begins with exactly one or none, so that the effect of each step on the
state is there once, however often the step was begun. Along the runs of a task the numbers rise: what an earlier run
says when a later one has begun counts for nothing, so that the state never goes back. It is kept as the data of its
task is: what is confidential stays on its node, and no node opens it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from ...overlay.wire.work import Checkpoint, Report
from .answers import started
from .tasks import Job, Task

TOLD_EVERY_S: Final = 1.0
"""At most so much work is done again when a node is lost, and a task that says one after another fills no link."""


class Checkpoints:
    """`report` tells the master of a job."""

    def __init__(self, report: Callable[[Job, Report], None]) -> None:
        self._report = report
        self._untold: dict[int, Task] = {}
        """By number of process."""

    def saved(self, now_s: float, task: Task, state: bytes, *, pickled: bool) -> None:
        number = 1 if task.checkpoint is None else task.checkpoint.number + 1
        task.checkpoint = Checkpoint(number, state, pickled)
        task.process.checkpoints = number
        self._untold[task.process.number] = task
        if now_s >= _due_s(task):
            self.tell(now_s, task)

    def tell(self, now_s: float, task: Task) -> None:
        """Its master, what that does not know yet."""
        if self._untold.pop(task.process.number, None) is not None:
            task.told_s = now_s
            task.noticed = True
            self._report(task.job, started(now_s, task))

    def forget(self, task: Task) -> None:
        self._untold.pop(task.process.number, None)

    def tick(self, now_s: float) -> None:
        for task in [task for task in self._untold.values() if now_s >= _due_s(task)]:
            self.tell(now_s, task)

    def next_due_s(self) -> float:
        return min(map(_due_s, self._untold.values()), default=math.inf)


def _due_s(task: Task) -> float:
    return task.told_s + TOLD_EVERY_S
