"""`potluck migrate`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .processes import move


@verb("migrate", summary="Let a process go on at another node.")
@click.argument("pid", metavar="NODE/NUMBER")
@click.argument("to", metavar="NODE")
def command(session: Session, /, pid: str, to: str) -> Answer:
    """End a process and let its task go on at NODE: from its last checkpoint, if it has said one, else from its
    beginning. It gets another number there. Refused, with the reason, where NODE cannot run it."""
    return move(session, pid, to)
