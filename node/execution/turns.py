"""The part of the execution engine that pre-empts: whose turn is over, and what that means for its process tree.

    RUNNING ──slice over, or pushed away──▶ STOPPING    its task is ready again; it holds its slot while anything of it
                                                        may still run
    STOPPING ──stopped──▶ STOPPED                       its slot is free
    STOPPED ──picked──▶ RUNNING                         in the same process, where it was
    STOPPING, STOPPED ──its end was on its way──▶ over, and its process goes on as an idle one
    STOPPING, STOPPED ──that it waits was on its way──▶ WAITING (see `standing`), and its process goes on

Properties: nothing of a stopped tree runs; never do more trees run than there are slots; a task that was stopped is
ready exactly once. No more than `STOPPED_MAX` trees stand still at once, because each keeps its memory: beyond, whoever
runs goes on until one of them is over.
"""

from __future__ import annotations

import math
from typing import Final

from ..processes.process import State
from ..scheduling.policy import Policy
from ..scheduling.times import Statistics
from .events import Effect, ResumeWorker, StopWorker
from .pool import WorkerPool
from .tasks import Task, Worker

STOPPED_MAX: Final = 16


class Turns:
    """Effects are appended to `effects`, which the engine owns."""

    def __init__(self, policy: Policy[Task], pool: WorkerPool, effects: list[Effect]) -> None:
        self.statistics = Statistics()
        self._policy = policy
        self._pool = pool
        self._effects = effects

    def begin(self, now_s: float, task: Task) -> None:
        """It has a slot."""
        self.statistics.began(now_s)
        task.process.move(now_s, State.RUNNING)
        self._renew(now_s, task)

    def _renew(self, now_s: float, task: Task) -> None:
        task.turn_s = now_s
        task.slice_ends_s = now_s + self._policy.slice_s(task)

    def resume(self, now_s: float, worker: Worker) -> None:
        """Its task was picked."""
        (task,) = worker.pipe
        task.stood_s += now_s - task.stopped_s
        worker.stopped = False
        self._pool.put_in_place(worker)
        self._effects.append(ResumeWorker(worker.number))
        self.begin(now_s, task)

    def begin_anew(self, now_s: float) -> None:
        """By another policy, whose slices are others."""
        for worker in self._pool.running():
            task = worker.pipe[0]
            if task.turn_s is not None:
                task.slice_ends_s = now_s + self._policy.slice_s(task)

    def completed(self, now_s: float, task: Task) -> None:
        """It has run to its own end."""
        self._policy.ended(now_s, task, _ran_s(now_s, task))

    def over(self, now_s: float, task: Task) -> None:
        """It will not run any more, whatever the reason."""
        self._policy.ended(now_s, task, _ran_s(now_s, task), completed=False)
        task.process.move(now_s, State.TERMINATED)
        if task.begun_s is not None:
            self.statistics.add(task.process.times)

    def waits(self, now_s: float, worker: Worker) -> None:
        """Its task does, for something that it cannot go on without, and gives its slot back."""
        if worker.held:
            return
        self.go_on(worker)
        task = worker.pipe[0]
        self._block(now_s, task)
        if task.process.state is not State.WAITING:
            task.process.move(now_s, State.WAITING)

    def _block(self, now_s: float, task: Task) -> None:
        self._policy.blocked(now_s, task, _ran_s(now_s, task))
        task.turn_s, task.slice_ends_s = None, math.inf

    def due(self, now_s: float, *, wanted: bool) -> Worker | None:
        """Whose task has to make room for another, and is among the ready from now on. `wanted`: somebody who is not
        among the ready waits for a slot, too."""
        if not self._policy.preempts:
            return None
        return self._slice_over(now_s, wanted) or self._pushed_away(now_s)

    def stop(self, now_s: float, worker: Worker) -> None:
        """Its task is the only one in its pipe, and ready."""
        (task,) = worker.pipe
        worker.stopped = worker.stopping = True
        task.turn_s, task.slice_ends_s = None, math.inf
        task.stopped_s = now_s
        task.process.stops += 1
        task.process.move(now_s, State.READY)
        self.statistics.switched()
        self._effects.append(StopWorker(worker.number))

    def has_stopped(self, worker: Worker) -> None:
        worker.stopping = False
        if worker.dying:
            return
        if worker.stopped or worker.held:
            self._pool.free(worker)
            return
        self._effects.append(ResumeWorker(worker.number))
        if not worker.pipe:
            self._pool.vacate(worker)

    def unready(self, worker: Worker) -> None:
        """Its task is not ready after all, nor suspended any more: it has ended, or waits."""
        worker.held = False
        if worker.stopped:
            worker.stopped = False
            self._policy.remove(worker.pipe[0].key)

    def go_on(self, worker: Worker) -> None:
        """As `unready`, and its process lives on."""
        stands_still = (worker.stopped or worker.held) and not worker.stopping
        self.unready(worker)
        if stands_still:
            self._effects.append(ResumeWorker(worker.number))

    def hold(self, now_s: float, worker: Worker) -> None:
        """Its task, the only one in its pipe, is being suspended."""
        (task,) = worker.pipe
        if worker.stopped:
            self.unready(worker)
        else:
            self._block(now_s, task)
            task.stopped_s = now_s
            if not worker.stopping:
                worker.stopping = True
                self._effects.append(StopWorker(worker.number))
        worker.held = True

    def let_go(self, now_s: float, worker: Worker) -> None:
        """Its task is ready again, as if it had been pre-empted."""
        (task,) = worker.pipe
        worker.held, worker.stopped = False, True
        self._policy.add(now_s, task)
        task.process.move(now_s, State.READY)

    def wake(self, now_s: float, worker: Worker) -> None:
        """Its task waits, as it did before: it needs no slot for that."""
        (task,) = worker.pipe
        worker.held = False
        task.stood_s += now_s - task.stopped_s
        if not worker.stopping:
            self._effects.append(ResumeWorker(worker.number))

    def idle(self, worker: Worker) -> None:
        """Its pipe is empty. Until it has stopped, it holds its slot."""
        if not worker.stopping:
            self._pool.vacate(worker)

    def _slice_over(self, now_s: float, wanted: bool) -> Worker | None:
        for worker in self._pool.running():
            task = worker.pipe[0]
            if now_s < task.slice_ends_s or worker.stopping:
                continue
            if not wanted and not self._may_give_way(now_s):
                task.slice_ends_s = now_s + self._policy.slice_s(task)
                continue
            self._policy.preempted(now_s, task, _ran_s(now_s, task))
            if wanted or self._policy.peek(now_s) is not task:
                return worker
            self._policy.pick(now_s)
            self._renew(now_s, task)
        return None

    def _pushed_away(self, now_s: float) -> Worker | None:
        """One at a time: who was told to stop will soon leave its slot."""
        head = self._policy.peek(now_s)
        if head is None or self._pool.slots.fit(head.job.needs.cpus) or not self._may_give_way(now_s):
            return None
        if any(worker.stopping for worker in self._pool.workers.values()):
            return None
        running = [
            (self._policy.rank(one.pipe[0], _ran_s(now_s, one.pipe[0])), one)
            for one in self._pool.running()
            if one.pipe[0].turn_s is not None
        ]
        rank, worker = max(running, key=lambda one: one[0], default=(-math.inf, None))
        if worker is None or self._policy.rank(head, 0.0) >= rank:
            return None
        self._policy.preempted(now_s, worker.pipe[0], _ran_s(now_s, worker.pipe[0]))
        return worker

    def _may_give_way(self, now_s: float) -> bool:
        """Whoever comes next is stopped itself, or one more may be."""
        head = self._policy.peek(now_s)
        if head is None or head.worker is not None:
            return True
        return sum(worker.stopped for worker in self._pool.workers.values()) < STOPPED_MAX


def _ran_s(now_s: float, task: Task) -> float:
    return 0.0 if task.turn_s is None else now_s - task.turn_s
