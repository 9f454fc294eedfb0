"""`potluck kill`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .processes import act


@verb("kill", summary="End a process, its tree or its group.")
@click.argument("pid", metavar="NODE/NUMBER")
@click.option("--tree", is_flag=True, help="And all that have come from it, on any node.")
@click.option("--group", is_flag=True, help="All of the job that it comes from.")
def command(session: Session, /, pid: str, tree: bool, group: bool) -> Answer:
    """End a process and everything it has started; whoever waits for its task is told that it was cancelled."""
    return act(session, "kill", pid, tree=tree, group=group)
