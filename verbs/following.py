"""A lasting job that is waited for, to its end, whichever nodes are lost meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from functools import partial
from typing import Final

from ..client.connection import Connection
from ..client.files import Home
from ..client.futures import Job, TaskFuture
from ..client.redialling import PATIENCE_S, Redialler
from ..overlay.errors import Cancelled, LinkLost, Unavailable
from .answer import Session
from .asking import reach, talking
from .records import OVER, Done
from .sealing import seal
from .told import tasks_of, told_of
from .work import finish

LOOK_AGAIN_S: Final = 0.2


def finish_lasting(session: Session, connection: Connection, job: Job, futures: Sequence[TaskFuture]) -> Done:
    """Once it is safe, other nodes can tell of it as well. Raises as `seal`, `finish` and `told_elsewhere`."""
    try:
        name = seal(connection, job, futures)
        try:
            return finish(session, connection, job, futures)
        except LinkLost as lost:
            return told_elsewhere(session, name, lost, job.home)
    except KeyboardInterrupt:
        if not job.id:
            raise
        raise Cancelled(f"interrupted; {_goes_on(job.id)}") from None


def _goes_on(job: str) -> str:
    return f"the job goes on: `potluck job {job}`, or `potluck cancel {job}`"


def told_elsewhere(
    session: Session, job: str, lost: LinkLost, home: Home | None, patience_s: float = PATIENCE_S
) -> Done:
    """Raises LinkLost when no node comes back, and Unavailable when those that are there cannot tell for as long."""
    redialler = Redialler(partial(reach, session), patience_s)
    try:
        while (link := redialler.again(lost)) is not None:
            with talking(link) as connection:
                try:
                    return _await_end(connection, redialler, job, home)
                except LinkLost as error:
                    lost = error
        raise lost
    except Unavailable as error:
        raise type(error)(f"{error}; {_goes_on(job)}") from error


def _await_end(connection: Connection, redialler: Redialler, job: str, home: Home | None) -> Done:
    pause = threading.Event()
    told_s = time.monotonic()
    while True:
        try:
            if told_of(connection, job, "job")["state"] in OVER:
                return tasks_of(connection, job, home)
            told_s = time.monotonic()
            redialler.heard()
        except LinkLost:
            raise
        except Unavailable:  # nobody has followed its master yet
            if time.monotonic() > told_s + PATIENCE_S:
                raise
        pause.wait(LOOK_AGAIN_S)
