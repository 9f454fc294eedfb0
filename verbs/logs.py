"""`potluck logs`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable
from typing import Any, Final

import click

from ..client.connection import Connection
from .answer import Answer, Session, verb
from .asking import connected
from .printed import Printed, so_far, text_of
from .records import OVER, Record
from .told import said_of, tasks_of

_LOOK_AGAIN_S: Final = 0.2


@verb("logs", summary="Show what a job's tasks have printed.")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
def command(session: Session, job: str, follow: bool) -> Answer:
    """Show what the tasks of a job have printed, stdout and stderr, in the order of tasks; with -f as they print it. Of
    tasks that run, were cancelled or lost, that is what the master of a job that lasts has kept of it: the last 256
    KiB."""
    with connected(session) as connection:
        if follow:
            return _follow(session, connection, job)
        tasks = tasks_of(connection, job).tasks
        told = so_far(job, tasks, said_of(connection, job, "output").printed)
    return Answer(told, "\n".join(filter(None, map(text_of, told))))


def _follow(session: Session, connection: Connection, job: str) -> Answer:
    reading, ended = Reading(connection, job), -1
    while True:
        told = reading.on(session)
        if told["tasks_ended"] != ended:
            ended = told["tasks_ended"]
            tasks = tasks_of(connection, job).tasks
            told = reading.on(session)  # what they had printed before they ended comes first
            _show(session, reading.printed.ended(tasks))
        if told["state"] in OVER and told["tasks_ended"] == ended:
            break
        time.sleep(_LOOK_AGAIN_S)
    missed = f"{reading.missed_bytes} bytes were printed faster than they were read: `potluck result` has the ends"
    return Answer([], notes=missed if reading.missed_bytes else "", told=True)


class Reading:
    """What running tasks print, read on from where it was read to."""

    def __init__(self, connection: Connection, job: str) -> None:
        self.printed = Printed(job)
        self.missed_bytes = 0
        self._connection = connection
        self._job = job
        self._position = 0
        self._epoch: int | None = None

    def on(self, session: Session) -> Record:
        """Shows what is new, and returns the record of the job without its tasks."""
        is_another = False
        while True:
            said = said_of(self._connection, self._job, "output", self._position)
            told: dict[str, Any] = json.loads(said.json)
            if self._epoch in (None, told["epoch"]):
                break
            self._position, self._epoch = 0, told["epoch"]  # another master counts from when it has begun
            self.printed.another_master()
            is_another = True
        gap_bytes = self.printed.gap_bytes
        _show(session, self.printed.came(said.printed))
        self._epoch = told["epoch"]
        self._position = max(self._position, said.more)  # a deputy that answers for its master has heard of nothing
        self.missed_bytes += self.printed.gap_bytes - gap_bytes if is_another else said.missed_bytes
        return told


def _show(session: Session, records: Iterable[Record]) -> None:
    for said in records:
        session.show(said, text_of(said))
