"""The part of the execution engine that sends home what running tasks print, and gives them what they are told.

Of a task, all of its output goes home before its end is told, or none of it: then it comes with the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ...overlay.wire.streams import InputPart, InputWanted, OutputTaken
from .events import Effect, Feed, Hungry, Printed, RoomForOutput, Say
from .outgoing import Outgoing
from .pool import WorkerPool
from .printed import Piece
from .tasks import Job, Task


class Streaming:
    """Effects are appended to `effects`, which the engine owns."""

    def __init__(self, pool: WorkerPool, effects: list[Effect]) -> None:
        self._pool = pool
        self._effects = effects

    def outgoing_of(self, worker: int) -> Outgoing | None:
        task = self._running(worker)
        return None if task is None else task.job.outgoing

    def printed(self, now_s: float, event: Printed) -> None:
        if (task := self._running(event.worker)) is not None:
            task.streamed = True
            self._send(task, event.pieces)

    def ends(self, task: Task, rest: Sequence[Piece]) -> None:
        """Before its end is told."""
        if task.streamed:
            self._send(task, rest)

    def shown(self, jobs: Iterable[Job], taken: OutputTaken) -> None:
        for job in jobs:
            if job.outgoing is not None:
                job.outgoing.taken(taken)
                if job.outgoing.room:
                    self._effects += [RoomForOutput(worker) for worker in job.lease.workers]

    def hungry(self, now_s: float, event: Hungry) -> None:
        if (task := self._running(event.worker)) is not None:
            wanted = InputWanted(task.job.name, task.index, task.attempt, event.offset)
            self._effects.append(Say(task.job.assigner, wanted))

    def fed(self, jobs: Iterable[Job], part: InputPart) -> None:
        for job in jobs:
            task = job.tasks.get(part.index)
            if task is not None and task.worker is not None and task.attempt == part.attempt:
                self._effects.append(Feed(task.worker.number, part))

    def again(self, job: Job) -> None:
        """Its master is another, or back: what it has not answered may have been lost on the way."""
        if job.outgoing is not None:
            self._effects += [Say(job.assigner, message) for message in job.outgoing.again()]
        if job.takes_input:
            self._effects += [
                Feed(worker.number) for worker in job.lease.workers.values() if worker.ready and worker.pipe
            ]

    def _send(self, task: Task, pieces: Sequence[Piece]) -> None:
        job = task.job
        if job.outgoing is not None:
            sent = job.outgoing.send(task.index, task.attempt, pieces)
            self._effects += [Say(job.assigner, message) for message in sent]

    def _running(self, worker: int) -> Task | None:
        known = self._pool.workers.get(worker)
        return known.pipe[0] if known is not None and known.pipe and known.ready else None
