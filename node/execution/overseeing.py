"""Shell around one worker's use of the machine: tells the kernel its limits, and looks where the kernel does not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
"""Looking takes no more than one part in so many of the node's time, however large the trees are, and however many."""
SETTLED_S: Final = 0.5
"""What a worker does for itself once it is ready, it has done by then."""


class Attention:
    """A node's, for all its workers together."""

    def __init__(self) -> None:
        self._watched = 0

    @contextmanager
    def given(self) -> Iterator[None]:
        """To one worker more."""
        self._watched += 1
        try:
            yield
        finally:
            self._watched -= 1

    def rest_s(self, look_s: float) -> float:
        """Until a worker is looked at again, when one look at it has taken so long."""
        return max(LOOK_INTERVAL_S, LOOK_SHARE * look_s * self._watched)


class Overseer:
    """`running` is the task at the head of this worker's pipe; `printed_bytes` how much has come out of it so far.
    `measured` is told what a task has used, by whoever looks; most tasks are over before anybody does."""

    def __init__(
        self,
        attention: Attention,
        running: Callable[[], Task | None],
        printed_bytes: Callable[[], int],
        measured: Callable[[Task, float, int], None],
    ) -> None:
        self._attention = attention
        self._running = running
        self._printed_bytes = printed_bytes
        self._measured = measured
        self._ended_bytes = 0
        self._one_has_ended = False
        self._idle = Usage()
        """Before the first task."""
        self._seen: int | None = None
        self._begun = Begun(Usage(), 0)
        self._unseen_s = 0.0
        """How long the task had run when it was first looked at: so much CPU time is taken for granted."""
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
        if process.usage() is None:
            await trio.sleep_forever()  # nobody counts, so that there is nothing to be seen
        await self._settle(process)
        while True:
            await self._busy.wait()
            with self._attention.given():
                if (passed := await self._watch(process)) is not None:
                    return passed

    async def _watch(self, process: WorkerProcess) -> LimitExceeded | None:
        """For as long as tasks run there."""
        while self._busy.is_set():
            began_s = trio.current_time()
            if (passed := self.look(process)) is not None:
                return passed
            if self._running() is None:
                self._busy = trio.Event()
            await trio.sleep(self._attention.rest_s(trio.current_time() - began_s))
        return None

    async def _settle(self, process: WorkerProcess) -> None:
        """What there is before the first task is not that task's."""
        if not self._busy.is_set():
            self._idle = process.usage() or Usage()
        with trio.move_on_after(SETTLED_S):
            await self._busy.wait()
        if not self._busy.is_set():
            self._idle = process.usage() or Usage()

    def look(self, process: WorkerProcess) -> LimitExceeded | None:
        task = self._running()
        usage = self._measure(task, process) if task is not None else None
        if task is None or usage is None:
            return None
        return exceeded(task.job.limits, self._begun, usage, self._printed_bytes())

    def _measure(self, task: Task, process: WorkerProcess) -> Usage | None:
        """None where nobody counts."""
        usage = process.usage()
        if usage is None:
            return None
        if task.key != self._seen:
            self._seen = task.key
            # Of what cannot be given back, a task has not had what there was before it.
            self._begun = Begun(usage if self._one_has_ended else self._idle, self._ended_bytes)
            self._unseen_s = task.process.times.ran_by(trio.current_time()) if self._one_has_ended else 0.0
        self._measured(task, self._unseen_s + usage.cpu_s - self._begun.usage.cpu_s, usage.memory_bytes)
        return usage

    def ended(self, process: WorkerProcess, message: TaskFinished) -> LimitExceeded | None:
        """What a task failed of, if it was a limit; and whether it printed too much in less time than a look takes."""
        task = self._running()
        passed = None
        if task is not None and task.key == message.task:
            printed_bytes = message.stdout_end + message.stderr_end
            passed = exceeded_output(task.job.limits, printed_bytes - self._ended_bytes)
            if passed is None and message.fault is not None:
                passed = self.look(process)
            elif task.key == self._seen and message.elapsed_s >= LOOK_INTERVAL_S:
                self._measure(task, process)
        self._ended_bytes = message.stdout_end + message.stderr_end
        self._one_has_ended = True
        return passed
