"""`potluck result`."""

from __future__ import annotations

import click

from ..overlay.errors import Unavailable
from .answer import Answer, Session, verb
from .asking import connected
from .records import OVER, Done, Record
from .rendering import text_of
from .told import tasks_of


@verb("result", summary="Show what a job has computed.")
@click.argument("job")
def command(session: Session, job: str) -> Answer:
    """Show the values of a job that is over, as `run` or `map` would have."""
    with connected(session) as connection:
        done = tasks_of(connection, job)
    state = done.record["state"]
    if state not in OVER:
        raise Unavailable(f"job {job} is {state}: `potluck job {job}` says how far it has come")
    return Answer(done.record, _shown(done), done.complaints(), done.exit_code)


def _shown(done: Done) -> str:
    pairs = zip(done.tasks, done.values, strict=True)
    return "\n".join(_output(task, value) for task, value in pairs if task["error"] is None)


def _output(task: Record, value: object) -> str:
    """What it printed, then its value; of a script, which has none, what it printed."""
    printed = str(task["stdout"]).rstrip("\n")
    return printed if printed and value is None else "\n".join(filter(None, (printed, text_of(value))))
