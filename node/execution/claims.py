"""The part of the execution engine that has memory and devices set aside for tasks, before they are ready.

    NEW ──asks for nothing──────────────▶ READY
    NEW ──asks──▶ waits here, as NEW ──granted──▶ READY
                    └─suspended, cancelled, handed back──▶ gone from here, with whatever it had

What it was granted is a task's until it has ended, and, where its process is ended for it, until that is gone. A task
that waits for what is held by those who wait for itself would wait for ever: it goes back to its master.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from ...overlay.errors import NoWorker
from ..processes.process import State
from ..resources.grants import Grants, Wish
from .tasks import Opens, Task, Worker

HELD_BY_PARENTS = "what it needs is held there by the tasks that wait for it"


class Claims:
    def __init__(self, grants: Grants, ready: Callable[[float, Task], None]) -> None:
        self.grants = grants
        self._ready = ready
        self._tasks: dict[int, Task] = {}
        """That ask."""

    def take_in(self, now_s: float, task: Task) -> None:
        """Everything else of it is here."""
        needs = task.job.needs
        number = task.process.number
        if not (needs.memory_bytes or needs.gpus) or self.grants.held_by(number) is not None:
            self._ready(now_s, task)
            return
        self._tasks[number] = task
        self.grants.ask(number, Wish(-task.priority, needs, lambda: _open_gpus(task), task.job.purse))
        if task.process.state is State.SUSPENDED:
            task.process.move(now_s, State.NEW)

    def admit(self, now_s: float) -> None:
        for number in self.grants.granted():
            self._ready(now_s, self._tasks.pop(number))

    def asks(self, task: Task) -> bool:
        return task.process.number in self._tasks

    def release(self, task: Task) -> None:
        self._tasks.pop(task.process.number, None)
        self.grants.release(task.process.number)

    def opened_for(self, task: Task) -> Opens:
        grant = self.grants.held_by(task.process.number)
        return Opens(() if grant is None else grant.gpus, task.job.network)

    def in_vain(self) -> Iterator[tuple[Task, NoWorker]]:
        """Those who ask for what their own parents hold."""
        for number, task in list(self._tasks.items()):
            if task.depth and self.grants.cannot_be(number, _parents_of(task)):
                yield task, NoWorker(HELD_BY_PARENTS)


def _open_gpus(task: Task) -> Iterator[int]:
    """Where a program of its lease lies idle that has them open already."""
    for worker in task.job.lease.workers.values():
        if not worker.pipe and not worker.dying:
            yield from worker.opens.gpus


def _parents_of(task: Task) -> Iterator[int]:
    """As far as one may be told: whoever of the same origin waits, and is less deep."""
    for worker in task.job.lease.workers.values():
        if worker.stands is not None and worker.pipe and worker.pipe[0].depth < task.depth:
            yield worker.pipe[0].process.number


def hand_over(worker: Worker, task: Task) -> None:
    """What the task was granted is in use by this worker now."""
    if task.job.needs.reserves:
        worker.granted = task.process.number
