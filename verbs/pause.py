"""`potluck pause`."""

from __future__ import annotations

from .answer import Answer, Session, verb
from .lending import lending


@verb("pause", summary="Lend nothing, until `potluck lend`.")
def command(session: Session) -> Answer:
    """Lend nothing to others, until `potluck lend`, also after a restart. Their tasks stand still at once and go back
    after the grace; what you start at this machine goes on."""
    return lending(session, pause=True)
