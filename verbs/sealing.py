"""A lasting job on its way to where it is safe: its tasks go as they become so, and it waits as long as more do."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from typing import Any, Final

from ..client.connection import Connection
from ..client.futures import Job, TaskFuture
from ..client.programs import Body
from ..overlay.errors import DeadlineExceeded, PotluckError, Refused
from ..overlay.wire.control import SealJob
from ..overlay.wire.work import Inline
from .asking import ANSWER_TIMEOUT_S

SEAL_TIMEOUT_S: Final = 45.0
"""Without anything more having become safe."""
AHEAD_MAX: Final = 32_768
"""Tasks of a detached job that are in this program at a time."""
_LOOK_S: Final = 0.5


class Sealing:
    def __init__(self, connection: Connection, job: Job, tasks: int) -> None:
        """The job will have so many tasks. Raises why it was not opened."""
        self.name = job.opened.result(ANSWER_TIMEOUT_S)
        self._job = job
        self._sealed: Future[Any] = connection.ask(SealJob, self.name, tasks)

    def wait(self, is_ready: Callable[[float], bool]) -> None:
        """Until `is_ready`, which waits for so many seconds, says so.

        Raises DeadlineExceeded, and why the node has given the job up.
        """
        safe, since_s = -1, time.monotonic()
        while not is_ready(_LOOK_S):
            if self._sealed.done():
                self._sealed.result()
            if self._job.safe_tasks > safe:
                safe, since_s = self._job.safe_tasks, time.monotonic()
            elif time.monotonic() > since_s + SEAL_TIMEOUT_S:
                raise DeadlineExceeded(f"of job {self.name}, nothing more has become safe for {SEAL_TIMEOUT_S:g} s")

    def await_safe(self) -> str:
        """Returns the job's name. Raises as `wait`."""
        self.wait(lambda timeout_s: bool(wait([self._sealed], timeout_s).done))
        self._sealed.result()
        return self.name


def seal(connection: Connection, job: Job, futures: Sequence[TaskFuture]) -> str:
    """Returns the job's name when the job is safe. Raises Unavailable, or why it was refused."""
    try:
        return Sealing(connection, job, len(futures)).await_safe()
    except PotluckError:
        for future in futures:
            if future.done() and isinstance(refusal := future.exception(), Refused):
                raise refusal from None
        raise


def send_detached(connection: Connection, job: Job, body: Body, arguments: Sequence[Inline]) -> str:
    """A task for each of the arguments, no more at a time than there is room for. Returns the job's name once all are
    safe. Raises as `seal`."""
    sealing = Sealing(connection, job, len(arguments))
    room = threading.Semaphore(AHEAD_MAX)
    errors: deque[BaseException] = deque(maxlen=1)

    def is_safe(future: Future[Any]) -> None:
        if (error := future.exception()) is not None:
            errors.append(error)
        room.release()

    try:
        for inline in arguments:
            sealing.wait(lambda timeout_s: room.acquire(timeout=timeout_s))
            if errors:
                break
            job.submit(body, inline).add_done_callback(is_safe)
        return sealing.await_safe()
    except PotluckError:
        if errors and isinstance(refusal := errors[0], Refused):
            raise refusal from None
        raise
