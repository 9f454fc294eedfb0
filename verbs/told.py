"""What a node tells of jobs, as verbs show it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from ..client.connection import Connection
from ..client.files import Home
from ..client.outcomes import exception_of, value_of
from ..overlay.errors import DeadlineExceeded, PotluckError
from ..overlay.wire.questions import AskJob, JobSaid, TaskLine, What
from ..overlay.wire.setting import files_in
from ..overlay.wire.work import Finished, Inline, Reference
from .asking import ANSWER_TIMEOUT_S, ask
from .records import Done, Record, done_of, ended_task, open_task


def said_of(connection: Connection, job: str, what: What, first: int = 0) -> JobSaid:
    """Raises NotFound, NotAllowed, Unavailable."""
    said: JobSaid = ask(connection, AskJob, job, what, first)
    return said


def told_of(connection: Connection, job: str, what: What) -> Record:
    told: Record = json.loads(said_of(connection, job, what).json)
    return told


def list_of(connection: Connection, what: What, job: str = "") -> list[Record]:
    told: list[Record] = json.loads(said_of(connection, job, what).json)
    return told


def tasks_of(connection: Connection, job: str, home: Home | None = None) -> Done:
    """With every task, in order, as far as it has come. The files that `home` wants of them are brought there."""
    told: Record = {}
    tasks: list[Record] = []
    values: list[Any] = []
    first = 0
    while True:
        said = said_of(connection, job, "tasks", first)
        told = json.loads(said.json)
        for task, value in _tasks_in(connection, job, said.lines, home):
            tasks.append(task)
            values.append(value)
        first = said.more
        if not first:
            return done_of(told, tasks, values)


def _tasks_in(
    connection: Connection, job: str, lines: list[TaskLine], home: Home | None
) -> Iterator[tuple[Record, Any]]:
    for line in lines:
        name, finished = f"{job}/{line.index}", line.finished
        if finished is None:
            yield open_task(name, line), None
            continue
        files: list[str] = []
        value, error = None, None
        if finished.fault is not None:
            error = exception_of(finished.fault)
        else:
            try:
                payload, files = _opened(_payload(connection, job, finished.value), finished, home)
                value = value_of(payload, pickled=finished.pickled, trusted=False)
            except PotluckError as fault:
                error = fault
        yield {**ended_task(name, line.node, finished, value, error), "files": files}, value


def _opened(payload: Inline, finished: Finished, home: Home | None) -> tuple[Inline, list[str]]:
    """The value proper, and the names of the files that came with it."""
    if not finished.with_files:
        return payload, []
    both = files_in(payload)
    if home is not None:
        home.bring({name: content for name, content in both.files.items() if home.wants(name)})
    return both.value, sorted(both.files)


def _payload(connection: Connection, job: str, value: Inline | Reference | None) -> Inline:
    if isinstance(value, Reference):
        try:
            return connection.fetch(job, value).result(ANSWER_TIMEOUT_S)
        except TimeoutError:
            raise DeadlineExceeded(f"a result did not come within {ANSWER_TIMEOUT_S:g} s") from None
    return value if value is not None else Inline(b"")
