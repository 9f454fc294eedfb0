"""All links of a node: dialled on demand, one per pair, kept while they are good."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Final
from weakref import WeakKeyDictionary

import trio

from .. import boundary
from ..background import Background
from ..config import Links as LinksConfig
from ..errors import (
    DeadlineExceeded,
    InternalError,
    LimitExceeded,
    LinkLost,
    NotAllowed,
    PotluckError,
    RemoteProtocolError,
    Unavailable,
)
from ..identity.bans import BanSet
from ..ids import NodeId
from ..ports import Address, Network, Stream
from ..session.states import Role
from ..wire.codec import Message
from ..wire.opening import DisconnectRequest
from .conversation import Conversation
from .link import Link
from .opening import BANNED, Introduction, PeerInfo, Purpose, open_as_initiator, open_as_responder

logger = logging.getLogger("potluck.links")

_ALIASES_MAX: Final = 1024
_ACCEPTED_MAX: Final = 16
"""Connections from one node at a time: its link, those that crossed or were lost, and its fetches of objects."""
_SHUT_OUT_S: Final = 60.0
"""Whoever has shown this node that it is banned is not dialled again for so long: it will not change its mind."""
_LEAVING_S: Final = 2.0
"""A node that leaves waits no longer for its links to end, those included that were being opened."""
_RETIRED_MAX: Final = 4
"""Second links of one pair that are still to be ended."""

Handler = Callable[[Link, Message], None]
BulkHandler = Callable[[Conversation, PeerInfo], Awaitable[None]]
_ENDINGS: Final = (Unavailable, NotAllowed, LimitExceeded, RemoteProtocolError)
"""Of connections."""


class Links:
    """`up` and `down` are called when a peer gains its first and loses its last link, `replaced` with one that has come
    in the place of another meanwhile, `moved` with where this node is reached, when that has changed.

    Handlers are plain functions called in the order of arrival; one that has to wait starts a task of its own.
    """

    def __init__(
        self,
        network: Network,
        introduction: Introduction,
        config: LinksConfig,
        failed: boundary.Failed = boundary.log,
    ) -> None:
        self.network = network
        self._failed = failed
        self._boundary = boundary.Boundary("what a connection has said", failed, *_ENDINGS)
        self._me = introduction
        self._config = config
        self._links: dict[NodeId, Link] = {}
        self._retired: dict[NodeId, list[Link]] = {}
        self._aliases: dict[Address, NodeId] = {}
        self._dialling: dict[NodeId, _Dial] = {}
        self._shut_out_until_s: dict[NodeId, float] = {}
        """By members that do not let this node in."""
        self._handlers: dict[type[Message], Handler] = {}
        self._bulk_handler: BulkHandler | None = None
        self._bulk: dict[trio.CancelScope, PeerInfo] = {}
        """What peers have opened; what they are asked for is in `_fetching`."""
        self._fetching: WeakKeyDictionary[Conversation, PeerInfo] = WeakKeyDictionary()
        self._accepted = Counter[bytes]()
        self._background = Background()
        self._leaving_because: str | None = None
        self._openings = 0
        """Under way now, in either direction."""
        self._opened = trio.lowlevel.ParkingLot()
        self.up: list[Callable[[Link], None]] = []
        self.down: list[Callable[[Link], None]] = []
        self.replaced: list[Callable[[Link], None]] = []
        self.moved: list[Callable[[Address], None]] = []
        self.address = Address("", 0)
        self.on(DisconnectRequest, self._parting)

    def on(self, message_type: type[Message], handler: Handler) -> None:
        assert message_type not in self._handlers
        self._handlers[message_type] = handler

    def on_bulk(self, handler: BulkHandler) -> None:
        self._bulk_handler = handler

    @property
    def bans(self) -> BanSet:
        return self._me.bans

    def __iter__(self) -> Iterator[Link]:
        return iter(list(self._links.values()))

    def is_linked(self, address: Address) -> bool:
        """Whether whoever was last found at this address has a link, by this address or another of the machine."""
        node_id = self._aliases.get(address)
        return node_id in self._links if node_id else any(link.peer.address == address for link in self)

    def get(self, node_id: bytes) -> Link | None:
        return self._links.get(NodeId(node_id))

    def _is_held(self, node_id: bytes) -> bool:
        link = self.get(node_id)
        return link is not None and not link.lost

    async def run(self, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED) -> None:
        """Accepts links until cancelled; starts with the address peers can reach."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            known = self.network.addresses
            self.address = await nursery.start(self.network.serve, self._accept)
            task_status.started(self.address)
            while True:
                known = await self.network.moved(known)
                self.address = Address(known[0], self.address.port)
                for observer in self.moved:
                    observer(self.address)

    async def connect(self, address: Address) -> Link:
        """A ready link to whoever of this mesh listens there. Raises Unavailable or NotAllowed."""
        began_s = trio.current_time()
        with self._opening():
            conversation, peer = await self._open(address, "control")
            if len(self._aliases) >= _ALIASES_MAX:
                self._aliases.clear()
            self._aliases[address] = peer.node_id
            return await self._adopt(conversation, peer, began_s)

    @contextmanager
    def _opening(self) -> Iterator[None]:
        """Raises LinkLost when this node leaves: what begins then would break for the peer without a word."""
        if self._leaving_because is not None:
            raise LinkLost(self._leaving_because)
        self._openings += 1
        try:
            yield
        finally:
            self._openings -= 1
            self._opened.unpark_all()

    async def link_to(self, node_id: NodeId, address: Address) -> Link:
        """The link to this node, dialled if there is none. Several callers share one dial, which goes on when they
        give up: a peer that had let us in would take a broken opening for a crash. Raises Unavailable or NotAllowed."""
        while (link := self._links.get(node_id)) is None:
            if trio.current_time() < self._shut_out_until_s.get(node_id, 0.0):
                raise NotAllowed(BANNED)
            dial = self._dialling.get(node_id)
            if dial is None:
                if not self._background.running:
                    raise LinkLost("this node is not running")
                dial = self._dialling[node_id] = _Dial()
                self._background.start(self._dial, node_id, address, dial)
            await dial.over.wait()
            if dial.error is not None:
                raise dial.error
        return link

    async def _dial(self, node_id: NodeId, address: Address, dial: _Dial) -> None:
        try:
            link = await self.connect(address)
            if link.peer.node_id != node_id:
                dial.error = LinkLost(f"{address} is {link.peer.name} now, another node")
        except (Unavailable, NotAllowed) as error:
            dial.error = error
            if self.bans.against_this_node and str(error) == BANNED and len(self._shut_out_until_s) < _ALIASES_MAX:
                self._shut_out_until_s[node_id] = trio.current_time() + _SHUT_OUT_S
        finally:
            del self._dialling[node_id]
            dial.over.set()

    async def open_bulk(self, node_id: NodeId, address: Address) -> Conversation:
        """A connection of its own for objects; the caller closes it."""
        conversation, peer = await self._open(address, "bulk")
        if peer.node_id != node_id:
            await conversation.aclose()
            raise LinkLost(f"{address} is {peer.name} now, another node")
        self._fetching[conversation] = peer
        return conversation

    def leads_there(self, conversation: Conversation) -> bool:
        """Of one of those: whether the peer has not moved since."""
        return conversation in self._fetching

    async def compare_bans(self, node_id: NodeId, address: Address) -> bool:
        """Whether it had the same bans as this node, a moment ago: now it has. Raises Unavailable or NotAllowed."""
        own = self.bans.digest
        conversation, peer = await self._open(address, "bulk")
        await conversation.aclose()
        if peer.node_id != node_id:
            raise LinkLost(f"{address} is {peer.name} now, another node")
        return peer.ban_digest_said == own

    async def _open(self, address: Address, purpose: Purpose) -> tuple[Conversation, PeerInfo]:
        conversation = Conversation(await self.network.dial(address), Role.INITIATOR)
        try:
            with trio.fail_after(self._config.handshake_timeout_s), self._boundary:
                peer = await open_as_initiator(conversation, self._me, purpose, self._is_held)
        except trio.TooSlowError as error:
            await conversation.aclose()
            raise DeadlineExceeded(f"{address} did not finish the handshake") from error
        except (RemoteProtocolError, InternalError) as error:
            await conversation.aclose()
            raise NotAllowed(f"{address}: {error}") from error
        except BaseException:
            with trio.CancelScope(shield=True):
                await conversation.aclose()
            raise
        return conversation, peer

    async def _accept(self, stream: Stream) -> None:
        """Runs as the task of one accepted stream, for as long as it lasts."""
        conversation, leaf_der, began_s = Conversation(stream, Role.RESPONDER), stream.leaf_der, trio.current_time()
        self._accepted[leaf_der] += 1
        try:
            if self._accepted[leaf_der] > _ACCEPTED_MAX:
                raise LimitExceeded(f"{_ACCEPTED_MAX} connections of this node are open")
            with self._opening(), trio.fail_after(self._config.handshake_timeout_s), self._boundary:
                peer, purpose = await open_as_responder(conversation, self._me, self._is_held)
            if purpose == "bulk":
                await self._serve_bulk(conversation, peer)
            else:
                await self._run(Link(conversation, peer, began_s, self._config, self._failed))
        except (*_ENDINGS, InternalError, trio.TooSlowError) as error:
            logger.debug("a connection from %s ended: %s", stream.remote, error)
        finally:
            self._accepted -= Counter([leaf_der])
            with trio.CancelScope(shield=True):
                await conversation.aclose()

    async def _serve_bulk(self, conversation: Conversation, peer: PeerInfo) -> None:
        if self._bulk_handler is None:
            return
        with trio.CancelScope() as scope:
            self._bulk[scope] = peer
            try:
                with self._boundary:
                    await self._bulk_handler(conversation, peer)
            finally:
                del self._bulk[scope]

    async def _adopt(self, conversation: Conversation, peer: PeerInfo, began_s: float) -> Link:
        """Runs a link we dialled in the background; returns the one that stands for the pair."""
        link = Link(conversation, peer, began_s, self._config, self._failed)
        if not self._background.running:
            await conversation.aclose()
            raise LinkLost("this node is not running")
        self._background.start(self._run, link)
        while not link.lost and self._links.get(peer.node_id) is None:
            await trio.lowlevel.checkpoint()
        return self._links.get(peer.node_id, link)

    async def _run(self, link: Link) -> None:
        self._register(link)
        try:
            await link.run(self._dispatch)
        finally:
            self._unregister(link)

    def _dispatch(self, link: Link, message: Message) -> None:
        self._handlers[type(message)](link, message)

    def _register(self, link: Link) -> None:
        """One link per pair. Of two that crossed, the one begun by the lower id stays; of two by the same side, the
        older while it lives, and its initiator knows. Whoever has lost the older one, unnoticed here, says so."""
        node_id = link.peer.node_id
        present = self._links.get(node_id)
        if present is None or not link.initiated:
            self._leave_behind(link.peer)
        if present is None:
            self._links[node_id] = link
            self._tell(self.up, link)
        elif present.lost or link.replaces(present):
            present.lose(LinkLost(f"{link.peer.name} has begun anew"))
            self._links[node_id] = link
            self._tell(self.down, present)
            self._tell(self.up, link)
        elif link.initiated != present.initiated and link.initiated == (self._me.identity.node_id < node_id):
            self._replace(link)
            self._retire(present)
        else:
            self._retire(link)

    def _leave_behind(self, peer: PeerInfo) -> None:
        """Ends what goes to where the peer was: nothing comes from there any more, and nobody would say so."""
        for scope, known in self._bulk.items():
            if known.node_id == peer.node_id and _has_moved(known, peer):
                scope.cancel()
        for conversation, known in list(self._fetching.items()):
            if known.node_id == peer.node_id and _has_moved(known, peer):
                del self._fetching[conversation]
                self._background.start(conversation.aclose)

    def _retire(self, link: Link) -> None:
        """A second link of the pair: whoever began it ends it; until then what comes on it is taken. It steps in
        where the first is ended in order, and ends with one that breaks; and the first with a second that is not ended
        in order. A peer that begins many loses them."""
        retired = self._retired.setdefault(link.peer.node_id, [])
        retired.append(link)
        if len(retired) > _RETIRED_MAX:
            retired.pop(0).lose(LinkLost(f"{link.peer.name} opens more links than it ends"))
        if link.initiated:
            self._background.start(_end, link)

    def _parting(self, link: Link, _message: Message) -> None:
        """The first of a pair is being ended in order, and nothing more can be said on it: a second that lives steps in
        at once, or what is said until it is gone would be lost, and nobody would know."""
        node_id = link.peer.node_id
        seconds = self._retired.get(node_id, [])
        living = next((one for one in seconds if not one.lost and not one.parted), None)
        if link.parted and living is not None and self._links.get(node_id) is link:
            seconds[seconds.index(living)] = link
            self._replace(living)

    def _unregister(self, link: Link) -> None:
        node_id = link.peer.node_id
        seconds, first = self._retired.pop(node_id, []), self._links.get(node_id)
        retired = [one for one in seconds if one is not link and not one.lost]
        if first is link:
            if retired and (link.parted or link.left or self._leaving_because is not None):
                self._replace(retired.pop())
            else:
                # What was under way is lost, and the peer may hold another link for the first: both begin anew.
                while retired:
                    retired.pop().lose(LinkLost(f"the first link to {link.peer.name} broke"))
                del self._links[node_id]
                self._tell(self.down, link)
        elif first is not None and link in seconds and _ended_unheard(first, link):
            first.lose(LinkLost(f"a second link to {link.peer.name} ended before all was heard"))
        if retired:
            self._retired[node_id] = retired

    def _replace(self, link: Link) -> None:
        """It stands for the pair instead of the one before, and may lead to another address."""
        self._links[link.peer.node_id] = link
        self._tell(self.replaced, link)

    def _tell(self, observers: list[Callable[[Link], None]], link: Link) -> None:
        for observer in observers:
            observer(link)

    def end(self, is_unwanted: Callable[[PeerInfo], bool], error: PotluckError) -> None:
        """Whatever connects us to such peers ends at once."""
        for link in self._all():
            if is_unwanted(link.peer):
                link.lose(error)
        for scope, peer in self._bulk.items():
            if is_unwanted(peer):
                scope.cancel()

    async def disconnect_all(self, reason: str) -> None:
        """Every peer learns that this node leaves, and has taken in all that was said before. No link is opened any
        more; to those that are being opened the same is said."""
        self._leaving_because = reason
        with trio.move_on_after(_LEAVING_S):
            while self._openings or self._links:
                async with trio.open_nursery() as nursery:
                    for link in self._all():
                        nursery.start_soon(_leave, link, reason)
                if self._openings:
                    await self._opened.park()
                else:
                    await trio.lowlevel.checkpoint()

    def _all(self) -> list[Link]:
        return [*self, *chain.from_iterable(self._retired.values())]


def _has_moved(known: PeerInfo, new: PeerInfo) -> bool:
    """Whether the peer is in another place now, having raised its incarnation on the way there: when it calls from
    there it does not hear any more what is said to it where it was."""
    return new.address.host != known.address.host and new.incarnation > known.incarnation


def _ended_unheard(first: Link, second: Link) -> bool:
    """Whether the peer, which may hold the second for its first, may take for heard what was under way there."""
    return second.initiated and not second.ended_in_order and first.peer.boot_id == second.peer.boot_id


async def _end(link: Link) -> None:
    await link.disconnect(leaving=False, reason="a second link to the same node")


async def _leave(link: Link, reason: str) -> None:
    await link.disconnect(leaving=True, reason=reason)


def is_refused(error: PotluckError) -> bool:
    """The machine answers but nothing listens: the node is gone."""
    return isinstance(error, LinkLost) and error.refused


class _Dial:
    """One that is under way, for all who wait for it."""

    def __init__(self) -> None:
        self.over = trio.Event()
        self.error: PotluckError | None = None
