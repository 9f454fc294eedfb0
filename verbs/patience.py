"""Waiting for tasks, and saying why when nothing of them runs."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Final

from ..client.connection import Connection
from ..client.futures import Job, TaskFuture
from ..overlay.errors import PotluckError
from .answer import Session
from .rendering import printable
from .told import list_of

SILENT_S: Final = 5.0
"""Tasks that begin at once, as nearly all do, are waited for without a word."""


class Patience:
    def __init__(self, session: Session, connection: Connection, job: Job, futures: Sequence[TaskFuture]) -> None:
        self._session = session
        self._connection = connection
        self._job = job
        self._futures = futures
        self._told = {""}

    def wait(self, future: TaskFuture) -> BaseException | None:
        """How it has failed, if it has."""
        while True:
            try:
                return future.exception(SILENT_S)
            except TimeoutError:
                if future.done():
                    return future.exception()
                self._look()

    def _look(self) -> None:
        if self._session.as_json or not self._job.id or any(one.running() for one in self._futures):
            return
        try:
            waiting = list_of(self._connection, "explain", self._job.id)
        except PotluckError:
            return  # nobody can say; whether it is waited for still, the tasks themselves are told
        reason = waiting[0]["reason"] if waiting else ""
        kind = reason.partition("; it is tried again")[0]
        if kind not in self._told:
            self._told.add(kind)
            print(f"potluck: waits: {printable(reason)}", file=sys.stderr, flush=True)
