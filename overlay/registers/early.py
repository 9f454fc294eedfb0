"""Founding before anybody needs it.

The founding needs everyone who is known, the dead included. A mesh that waited with it for its first agreed value could
have lost a machine by then. So once nobody has come or gone for a while and everyone known is alive, the one with the
lowest id founds; alone, nobody does, for there may be a mesh to join.
"""

from __future__ import annotations

import logging
from typing import Final

import trio

from ..errors import PotluckError
from ..membership.service import Membership
from ..wire.gossip import Status
from .service import Registers

logger = logging.getLogger("potluck.registers")

_QUIET_S: Final = 1.0


async def found_early(registers: Registers, membership: Membership) -> None:
    """Ends when this node knows of a founding."""
    before: frozenset[bytes] = frozenset()
    while registers.founding.known is None:
        await trio.sleep(_QUIET_S)
        others = [one for one in membership.members if one.status is not Status.LEFT]
        now = frozenset(one.node_id for one in others)
        everyone_lives = all(one.status is Status.ALIVE for one in others)
        if now and now == before and everyone_lives and registers.own_id < min(now):
            try:
                await registers.founding.settled()
            except PotluckError as error:
                logger.debug("the founding waits: %s", error)
        before = now
