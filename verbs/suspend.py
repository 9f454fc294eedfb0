"""`potluck suspend`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .processes import act


@verb("suspend", summary="Let a process stand still.")
@click.argument("pid", metavar="NODE/NUMBER")
@click.option("--tree", is_flag=True, help="And all that have come from it, on any node.")
@click.option("--group", is_flag=True, help="All of the job that it comes from.")
def command(session: Session, /, pid: str, tree: bool, group: bool) -> Answer:
    """Let a process stand still until `potluck resume`; its slot is free for others meanwhile."""
    return act(session, "suspend", pid, tree=tree, group=group)
