"""The workers of a node: spares that wait unused, leases to jobs, and how many slots are taken.

A worker serves one job of one owner for its life. Spares replace themselves as they are leased; a sandbox that fails to
start is given rest before the next try, so that a broken machine does not spin.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from ...overlay.backoff import doubled_s
from ..resources.slots import Slots
from .events import BindWorker, Effect, KillWorker, StartWorker
from .tasks import NOTHING_MORE, Job, Opens, Worker
from .wear import is_fit

REST_BASE_S: Final = 0.5
REST_MAX_S: Final = 30.0
FAILURES_GIVEN_UP: Final = 3
"""Starts that failed one after another; from then on tasks are returned instead of kept waiting."""


class Load(msgspec.Struct):
    """How busy a node's execution is."""

    slots: int
    busy: int = 0
    queued: int = 0
    queued_by_level: list[int] = []
    task_mean_s: float = 0.0
    chooses: bool = False
    """Its policy has use for tasks of every job, more than there are slots for."""
    gpus_free: int = 0
    waiting: int = 0
    """Tasks that hold no slot while they wait for others."""


class Starts:
    """How starting goes in one sandbox."""

    def __init__(self, spares_wanted: int) -> None:
        self.spares_wanted = spares_wanted
        self.failures = 0
        self.reason = ""
        self.rest_until_s = 0.0

    def failed(self, now_s: float, reason: str) -> None:
        self.failures += 1
        self.reason = reason
        self.rest_until_s = now_s + doubled_s(REST_BASE_S, self.failures, REST_MAX_S)

    def wasted(self, now_s: float) -> None:
        """One that had started has ended unused. Others can start, only not one after the other without rest."""
        self.rest_until_s = max(self.rest_until_s, now_s + REST_BASE_S)

    def may(self, now_s: float) -> bool:
        return now_s >= self.rest_until_s

    def given_up(self, now_s: float) -> bool:
        return self.failures >= FAILURES_GIVEN_UP and not self.may(now_s)


class WorkerPool:
    """Effects are appended to `effects`, which the engine owns."""

    def __init__(self, slots: Slots, *, spares: int, sandboxes: Iterable[int], effects: list[Effect]) -> None:
        self.slots = slots
        self.workers: dict[int, Worker] = {}
        self.starts = {sandbox: Starts(spares) for sandbox in sandboxes}
        self._spares_wanted = spares * len(self.starts)
        """In all; of no sandbox there are more than it wants."""
        self._spares: OrderedDict[int, Worker] = OrderedDict()
        self._idle: OrderedDict[int, Worker] = OrderedDict()
        self._idle_max = max(4, 2 * slots.count)
        self._effects = effects
        self._numbers = 0

    def fill(self, now_s: float) -> None:
        """Starts one of the spares that are lacking, once no other worker is starting: most of a start is computing,
        and whoever waits for one that starts beside others waits the longer."""
        if len(self._spares) == self._spares_wanted or any(one.starting for one in self.workers.values()):
            return
        for sandbox, starts in self.starts.items():
            there = sum(spare.sandbox == sandbox for spare in self._spares.values())
            if there < starts.spares_wanted and starts.may(now_s):
                spare = self._start(sandbox)
                self._spares[spare.number] = spare
                return

    def waiting(self) -> Iterator[Worker]:
        """Spares that are ready."""
        return (spare for spare in self._spares.values() if spare.ready)

    def renew(self) -> None:
        """None of them is as one that would begin now: who has nothing to do ends, and the others when they have."""
        for worker in list(self.workers.values()):
            worker.worn = True
            if worker.lease is None or worker.number in self._idle:
                self.kill(worker)

    def drop_spares(self) -> None:
        self._spares_wanted = 0
        for starts in self.starts.values():
            starts.spares_wanted = 0
        for spare in list(self._spares.values()):
            self.kill(spare)

    def lease(self, now_s: float, job: Job, opens: Opens = NOTHING_MORE) -> Worker | None:
        """An idle worker of this lease, else a spare, else a new one; None while its sandbox rests from a failure.
        Whoever else lies idle with one of these GPUs open is ended."""
        for worker in job.lease.workers.values():
            if not worker.pipe and not worker.dying and not worker.stopping and worker.opens == opens:
                self._idle.pop(worker.number, None)
                return worker
        assert job.sandbox is not None
        for worker in [idle for idle in self._idle.values() if not set(opens.gpus).isdisjoint(idle.opens.gpus)]:
            self.kill(worker)
        fit = (one for one in self._spares.values() if one.sandbox == job.sandbox and is_fit(one, job.limits))
        spares = list(fit) if opens == NOTHING_MORE else []
        if spares:
            worker = next((spare for spare in spares if spare.ready), spares[0])
            del self._spares[worker.number]
        elif self.starts[job.sandbox].may(now_s):
            worker = self._start(job.sandbox, opens)
        else:
            return None
        worker.lease = job.lease
        job.lease.workers[worker.number] = worker
        return worker

    def occupy(self, worker: Worker, cpus: int) -> None:
        """A slot, or one for each CPU that its task has asked for, with a core for itself; only where they fit."""
        if not worker.active:
            worker.active = True
            worker.cores = self.slots.take(worker.number, cpus, worker.bound).cores

    def free(self, worker: Worker) -> None:
        """Its slots."""
        if worker.active:
            worker.active, worker.cores = False, ()
            self.slots.give_back(worker.number)

    def put_in_place(self, worker: Worker) -> None:
        """It is about to run on the cores that it has."""
        if worker.bound != worker.cores:
            worker.bound = worker.cores
            self._effects.append(BindWorker(worker.number, worker.cores))

    def vacate(self, worker: Worker) -> None:
        """Its pipe is empty. It waits for more of its lease; of too many that wait, the one waiting longest goes."""
        self.free(worker)
        if worker.worn or (worker.lease is not None and worker.lease.used_once):
            self.kill(worker)
            return
        self._idle[worker.number] = worker
        if len(self._idle) > self._idle_max:
            self.kill(next(iter(self._idle.values())))

    def kill(self, worker: Worker) -> None:
        if not worker.dying:
            worker.dying = True
            self._spares.pop(worker.number, None)
            self._idle.pop(worker.number, None)
            self._effects.append(KillWorker(worker.number))

    def remove(self, worker: Worker) -> None:
        """It is gone, and its slot free."""
        del self.workers[worker.number]
        self._spares.pop(worker.number, None)
        self._idle.pop(worker.number, None)
        if worker.lease is not None:
            worker.lease.workers.pop(worker.number, None)
        self.free(worker)

    def running(self) -> Iterator[Worker]:
        """Those with a task at the head of their pipe, and not stopped."""
        return (worker for worker in self.workers.values() if worker.pipe and worker.goes)  # most have none

    def next_try_s(self, now_s: float) -> float | None:
        """When a sandbox has rested, if one rests."""
        return min((starts.rest_until_s for starts in self.starts.values() if not starts.may(now_s)), default=None)

    def _start(self, sandbox: int, opens: Opens = NOTHING_MORE) -> Worker:
        self._numbers += 1
        worker = self.workers[self._numbers] = Worker(self._numbers, sandbox, opens=opens)
        self._effects.append(StartWorker(worker.number, sandbox, opens))
        return worker
