"""The part of the execution engine that knows which running tasks stand waiting for tasks that they have submitted.

    RUNNING ──waits──▶ WAITING       its worker says so: its slot is free, what lay behind it in the pipe goes elsewhere
    WAITING ──wants──▶ RESUMING      its worker says that what it waited for is there
    RESUMING ──slot──▶ RUNNING       the dispatcher, as soon as a slot is free, before any task that has not begun;
                                     among several by priority, then in order of having asked
    RESUMING ──waits──▶ WAITING      another of its threads waits, and needs no slot for that
    any ──end, cancelled, lost, too late──▶ gone

Properties: only RUNNING holds a slot, so that never more run than there are slots. Whoever holds one ends or waits, so
that whoever wants one gets it, however deep the tree. No more than `waiting_max` processes stand waiting: who would be
one more is ended, and says so.
"""

from __future__ import annotations

from collections.abc import Iterable

from ...overlay.wire.worker import TaskGoesOn
from .pool import WorkerPool
from .tasks import Task, Worker


class Standing:
    def __init__(self, pool: WorkerPool) -> None:
        self._pool = pool
        self._resuming: dict[int, Worker] = {}
        """In order of having asked."""

    @property
    def wants_slots(self) -> bool:
        return bool(self._resuming)

    def count(self) -> int:
        return sum(worker.stands is not None for worker in self._pool.workers.values())

    def waiting(self) -> int:
        """Of these, how many want no slot yet."""
        return sum(worker.stands == "waiting" for worker in self._pool.workers.values())

    def waits(self, worker: Worker, turn: int) -> None:
        worker.stands, worker.turn = "waiting", turn
        self._resuming.pop(worker.number, None)
        self._pool.free(worker)

    def wants(self, worker: Worker, turn: int) -> None:
        if worker.stands == "waiting" and worker.turn == turn:
            worker.stands = "resuming"
            if not worker.held:
                self._resuming[worker.number] = worker

    def rests(self, worker: Worker) -> None:
        """It is suspended, and gets no slot."""
        self._resuming.pop(worker.number, None)

    def goes_on(self, worker: Worker) -> bool:
        """No longer; whether it wants its slot again."""
        if worker.stands == "resuming":
            self._resuming[worker.number] = worker
        return worker.stands == "resuming"

    def ends(self, worker: Worker) -> None:
        """Its task does, or it is gone itself."""
        worker.stands = None
        self._resuming.pop(worker.number, None)

    def resumed(self) -> Iterable[tuple[Worker, TaskGoesOn]]:
        """Those that get a slot now, and what they are to be told."""
        while self._resuming:
            worker = max(self._resuming.values(), key=_priority)  # of equals the first
            cpus = worker.pipe[0].job.needs.cpus
            if not self._pool.slots.fit(cpus):
                return
            self.ends(worker)
            self._pool.occupy(worker, cpus)
            self._pool.put_in_place(worker)
            yield worker, TaskGoesOn(worker.turn)


def head_of(worker: Worker, key: int) -> Task | None:
    """The task that runs there, if it is the one that is meant."""
    return worker.pipe[0] if worker.pipe and worker.pipe[0].key == key and not worker.dying else None


def _priority(worker: Worker) -> int:
    return worker.pipe[0].priority
