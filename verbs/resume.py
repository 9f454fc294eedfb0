"""`potluck resume`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .processes import act


@verb("resume", summary="Let a suspended process go on.")
@click.argument("pid", metavar="NODE/NUMBER")
@click.option("--tree", is_flag=True, help="And all that have come from it, on any node.")
@click.option("--group", is_flag=True, help="All of the job that it comes from.")
def command(session: Session, /, pid: str, tree: bool, group: bool) -> Answer:
    """Let a suspended process go on, as soon as there is a slot for it."""
    return act(session, "resume", pid, tree=tree, group=group)
