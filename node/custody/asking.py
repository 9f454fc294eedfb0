"""How a node asks another one something about jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import trio

from ...overlay.errors import DeadlineExceeded, LinkLost
from ...overlay.ids import NodeId
from ...overlay.links.links import Links
from ...overlay.membership.service import Membership
from ...overlay.wire.codec import Message

A = TypeVar("A", bound=Message)


class Asking:
    def __init__(self, links: Links, membership: Membership) -> None:
        self._links = links
        self._membership = membership

    async def ask(self, node_id: bytes, make: Callable[[int], Message], answer: type[A], patience_s: float) -> A:
        """Over the link that there is, or a new one; dialling counts. Raises Unavailable, NotAllowed."""
        member = self._membership.get(NodeId(node_id))
        if member is None or not member.present:
            raise LinkLost("the node is not there")
        with trio.move_on_after(patience_s):
            link = await self._links.link_to(NodeId(node_id), member.address)
            return await link.request(make, answer, patience_s)
        raise DeadlineExceeded(f"{member.name} did not answer in {patience_s:g} s")
