"""Shell around one worker's use of the machine: tells the kernel its limits, and looks where the kernel does not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ...overlay.errors import LimitExceeded
from ...overlay.ports import WorkerProcess
from ...overlay.wire.limits import Usage
from ...overlay.wire.worker import TaskFinished
from .limits import Begun, exceeded, exceeded_output
from .tasks import Task

LOOK_INTERVAL_S: Final = 0.05
"""A task can take so much time more than it may before it is ended."""
LOOK_SHARE: Final = 20
"""Looking takes no more than one part in so many of the node's time, however large the tree is."""


class Overseer:
    """`running` is the task at the head of this worker's pipe; `printed_bytes` how much has come out of it so far."""

    def __init__(self, running: Callable[[], Task | None], printed_bytes: Callable[[], int]) -> None:
        self._running = running
        self._printed_bytes = printed_bytes
        self._ended_bytes = 0
        self._one_has_ended = False
        self._seen: int | None = None
        self._begun = Begun(Usage(), 0)
        self._busy = trio.Event()
        self._told = False

    def task_comes(self, process: WorkerProcess) -> None:
        """Before it is sent."""
        if not self._told and (task := self._running()) is not None:
            self._told = True
            process.limit(task.job.limits)
        self._busy.set()

    async def run(self, process: WorkerProcess) -> LimitExceeded:
        """Returns when the running task has taken more than it may."""
        while True:
            await self._busy.wait()
            began_s = trio.current_time()
            if (passed := self.look(process)) is not None:
                return passed
            if self._running() is None:
                self._busy = trio.Event()
            await trio.sleep(max(LOOK_INTERVAL_S, LOOK_SHARE * (trio.current_time() - began_s)))

    def look(self, process: WorkerProcess) -> LimitExceeded | None:
        task = self._running()
        usage = process.usage() if task is not None else None
        if task is None or usage is None:
            return None
        if task.key != self._seen:
            self._seen = task.key
            # Of what cannot be given back, the task has not had what there was before it; of the first, all is its own.
            self._begun = Begun(usage if self._one_has_ended else Usage(), self._ended_bytes)
        return exceeded(task.job.limits, self._begun, usage, self._printed_bytes())

    def ended(self, process: WorkerProcess, message: TaskFinished) -> LimitExceeded | None:
        """What a task failed of, if it was a limit; and whether it printed too much in less time than a look takes."""
        task = self._running()
        passed = None
        if task is not None and task.key == message.task:
            printed_bytes = message.stdout_end + message.stderr_end
            passed = exceeded_output(task.job.limits, printed_bytes - self._ended_bytes)
            if passed is None and message.fault is not None:
                passed = self.look(process)
        self._ended_bytes = message.stdout_end + message.stderr_end
        self._one_has_ended = True
        return passed
