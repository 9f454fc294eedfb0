"""The part of the execution engine that suspends tasks because somebody says so, and lets them go on.

What has not begun is taken out of the queue or out of its worker's pipe, and has nothing set aside. What has begun
keeps its process, and all of that stands still (`Worker.held`); its slot is free once it does. What such a process had
said before counts: that it has ended, that it waits, that it wants its slot again.

Properties: nothing of a suspended task runs or is in a queue; whatever it was before, it is ready, or waits, when it
goes on; it can end in every way that another can.
"""

from __future__ import annotations

from ..processes.process import State
from .dispatching import Dispatcher
from .tasks import Task, Worker


class Suspending:
    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def suspend(self, now_s: float, task: Task) -> None:
        process = task.process
        task.was_ready = process.state is not State.NEW or self._dispatcher.claims.asks(task)
        if task.begun_s is not None:
            assert task.worker is not None
            self._dispatcher.withdraw(task.worker)
            self._dispatcher.standing.rests(task.worker)
            self._dispatcher.turns.hold(now_s, task.worker)
        elif task.was_ready:
            self._dispatcher.detach(task)
            self._dispatcher.claims.release(task)
        process.move(now_s, State.SUSPENDED)

    def resume(self, now_s: float, task: Task) -> None:
        if task.begun_s is not None:
            assert task.worker is not None
            self._let_go(now_s, task, task.worker)
        elif task.was_ready:
            self._dispatcher.ready(now_s, task)
        else:
            task.process.move(now_s, State.NEW)

    def _let_go(self, now_s: float, task: Task, worker: Worker) -> None:
        turns = self._dispatcher.turns
        if worker.stands is None:
            turns.let_go(now_s, worker)
            return
        turns.wake(now_s, worker)
        task.process.move(now_s, State.WAITING)
        if self._dispatcher.standing.goes_on(worker):
            task.process.move(now_s, State.READY)


def is_suspended(task: Task) -> bool:
    return task.process.state is State.SUSPENDED


def can_be(act: str, task: Task) -> bool:
    """Whether it would make a difference. What is being ended as it is, is left alone."""
    if task.worker is not None and task.worker.dying:
        return False
    if act in ("kill", "migrate"):
        return True
    return (is_suspended(task) and not task.yields) == (act == "resume")  # what yields would go on by itself
