"""`potluck result`."""

from __future__ import annotations

from pathlib import Path

import click

from ..client.files import Home
from ..overlay.errors import Unavailable
from .answer import Answer, Session, verb
from .asking import connected
from .records import OVER, Done, Record
from .rendering import printable, text_of
from .told import tasks_of


@verb("result", summary="Show what a job has computed.")
@click.option("--output", "globs", multiple=True, metavar="GLOB", help="Bring home these of the files it has written.")
@click.argument("job")
def command(session: Session, job: str, globs: tuple[str, ...]) -> Answer:
    """Show the values of a job that is over, as `run` or `map` would have."""
    home = Home(Path.cwd(), globs)
    with connected(session) as connection:
        done = tasks_of(connection, job, home)
    state = done.record["state"]
    if state not in OVER:
        raise Unavailable(f"job {job} is {state}: `potluck job {job}` says how far it has come")
    notes = "\n".join(filter(None, (_files(done, home), done.complaints())))
    return Answer(done.record, _shown(done), notes, done.exit_code)


def _files(done: Done, home: Home) -> str:
    names = sorted({name for task in done.tasks for name in task["files"]})
    brought = [name for name in names if home.wants(name)]
    left = [name for name in names if not home.wants(name)]
    lines = [f"brought home: {printable(', '.join(brought))}"] if brought else []
    if home.is_wanted and not names:
        lines.append("kept no files: those that --output names when a job is submitted are")
    elif home.is_wanted and not brought:
        lines.append("none of its files is named so")
    if left:
        lines.append(f"has files, too, which --output brings: {printable(', '.join(left))}")
    return "\n".join(lines)


def _shown(done: Done) -> str:
    pairs = zip(done.tasks, done.values, strict=True)
    return "\n".join(_output(task, value) for task, value in pairs if task["error"] is None)


def _output(task: Record, value: object) -> str:
    """What it printed, then its value; of a script, which has none, what it printed."""
    printed = str(task["stdout"]).rstrip("\n")
    return printed if printed and value is None else "\n".join(filter(None, (printed, text_of(value))))
