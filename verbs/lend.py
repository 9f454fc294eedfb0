"""`potluck lend`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .lending import lending


@verb("lend", summary="Lend again after `potluck pause`.")
@click.option("--show", is_flag=True, help="Only say whether this machine is lent, and by which rules.")
def command(session: Session, /, show: bool) -> Answer:
    """Lend again after `potluck pause`, as far as the rules that the node was started with allow."""
    return lending(session, pause=None if show else False)
