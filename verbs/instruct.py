"""`potluck instruct`."""

from __future__ import annotations

from typing import Any

import click

from ..client.programs import body_of
from ..overlay.errors import UsageError
from ..overlay.ids import leading_letters
from ..overlay.wire import values
from .answer import Answer, Session, verb
from .asking import connected
from .rendering import text_of
from .work import finish, job_options, options_from


@verb("instruct", summary="Run instructions by kind: a1 a2 b1.")
@click.argument("instructions", nargs=-1, required=True, metavar="INSTRUCTION...")
@job_options
def command(session: Session, /, instructions: tuple[str, ...], **options: Any) -> Answer:
    """Send each INSTRUCTION to a node that handles its kind, which is its leading letters."""
    if strange := [text for text in instructions if not leading_letters(text)]:
        raise UsageError(f"instruction {strange[0]!r}: must begin with the letters of its kind")
    wanted = options_from(**options)
    body = body_of("kind", b"")
    with connected(session, redials=True) as connection:
        job = connection.open_job(wanted, as_reports=True)
        futures = []
        for text in instructions:
            arguments = values.encode(text)
            futures.append(job.submit(body, arguments, kind=leading_letters(text)))
        done = finish(session, connection, job, futures)
    lines = [
        f"{text}: {text_of(value)} ({task['node']})" if task["error"] is None else f"{text}: {task['error']['message']}"
        for text, task, value in zip(instructions, done.tasks, done.values, strict=True)
    ]
    notes = "\n".join(note for note in (done.who(), done.complaints()) if note)
    return Answer(done.record, "\n".join(lines), notes, done.exit_code)
