"""`potluck cancel`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .asking import connected
from .told import told_of


@verb("cancel", summary="Cancel a job, and kill what runs of it.")
@click.argument("job")
def command(session: Session, job: str) -> Answer:
    """Cancel every task of a job that has no outcome yet."""
    with connected(session) as connection:
        told = told_of(connection, job, "cancel")
    return Answer(told, f"{job} is {told['state']}")
