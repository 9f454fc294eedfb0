"""The bans of a node: kept on disk, told to every peer, and carried out at once.

They are learned at the openings of links (`opening`) and as news over links. What is new is told on to all neighbours,
so that it reaches everybody whom links connect; whoever joins them later compares digests first.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import Final

import msgspec
import trio

from ..background import Background
from ..errors import NotAllowed, RemoteProtocolError, Unavailable
from ..identity.bans import BanSet
from ..identity.mesh import Identity
from ..ids import NodeId
from ..ports import Store
from ..wire.bans import Ban, Bans, paged
from ..wire.codec import Message, decoded
from .link import Link
from .links import Links

logger = logging.getLogger("potluck.links")

_TABLE: Final = "bans"
_decoder: Final = msgspec.msgpack.Decoder(Ban)

Acquaintances = Callable[[], Iterable[tuple[NodeId, Sequence[bytes]]]]


class Banning:
    """`acquaintances` are the nodes and verified chains this node has ever met. `fallen` is called after bans have
    come, when the links of all who are banned have ended."""

    def __init__(self, identity: Identity, links: Links, store: Store, acquaintances: Acquaintances) -> None:
        self.bans: BanSet = links.bans
        self._rotations = identity.mesh.rotations
        self._mesh = bytes.fromhex(identity.mesh.mesh_id)
        self._links = links
        self._store = store
        self._acquaintances = acquaintances
        self._background = Background()
        self.fallen: list[Callable[[], None]] = []
        links.up.append(self._link_up)
        links.on(Bans, self._told)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self._load()
        self.bans.grown.append(self._grown)
        self._carry_out()
        await self._background.run(task_status=task_status)

    def _load(self) -> None:
        for rotation in self._rotations[:1]:
            self.bans.learn(rotation.bans)
        for key, packed in list(self._store.scan(_TABLE, self._mesh)):
            try:
                self.bans.learn([decoded(_decoder, packed, "a ban")])
            except RemoteProtocolError as error:
                logger.error("ban %s on disk cannot be read: %s", key[len(self._mesh) :].hex()[:8], error)

    async def proclaim(self, ban: Ban) -> None:
        """Bans for ever; on this node's disk, and told to its neighbours, when it returns. Raises Unavailable."""
        self.bans.learn([ban])
        await self._store.commit()

    def _grown(self, new: Sequence[Ban]) -> None:
        for ban in new:
            packed = msgspec.msgpack.encode(ban)
            self._store.put(_TABLE, self._mesh + ban.signature, packed)
        self._background.start(self._commit)
        self._carry_out()
        for link in self._links:
            self._tell(link, new)

    async def _commit(self) -> None:
        try:
            await self._store.commit()
        except Unavailable as error:
            logger.error("bans are not on disk yet: %s", error)  # the next commit takes them along

    def _carry_out(self) -> None:
        for node_id, chain in self._acquaintances():
            self.bans.judge(node_id, chain)
        self._links.end(lambda peer: self.bans.judge(peer.node_id, peer.chain), NotAllowed("banned from this mesh"))
        for hear in self.fallen:
            hear()

    def _link_up(self, link: Link) -> None:
        """Bans may have come since the two compared theirs."""
        if link.peer.ban_digest == self.bans.digest:
            return
        if self.bans.judge(link.peer.node_id, link.peer.chain):
            link.lose(NotAllowed("banned from this mesh"))
        else:
            self._tell(link, self.bans)

    def _told(self, link: Link, message: Message) -> None:
        assert isinstance(message, Bans)
        self.bans.learn(message.bans)

    def _tell(self, link: Link, bans: Iterable[Ban]) -> None:
        """What is lost with the link is compared at its next one."""
        for page in paged(bans):
            link.tell(page)
