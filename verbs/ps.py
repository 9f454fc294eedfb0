"""`potluck ps`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .asking import connected
from .processes import seen, shown


@verb("ps", summary="List processes: tasks in execution.")
@click.option("--all-nodes", is_flag=True, help="Of the whole mesh.")
@click.option("--ended", is_flag=True, help="Also the last thousand that have ended in the last ten minutes.")
@click.option("--no-emoji", is_flag=True, help="Plain letters only.")
def command(session: Session, /, all_nodes: bool, ended: bool, no_emoji: bool) -> Answer:
    """List the tasks in execution on a node, or on all: who runs, is ready, waits or is suspended, and what each has
    used with all that it has started."""
    with connected(session) as connection:
        found = seen(connection, everywhere=all_nodes, ended=ended)
    return Answer(found.rows, shown(found.rows, emoji=not no_emoji), found.notes)
