"""Shell of the DHT on one node: answers peers, searches, and tells `replication` who holds what."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final, TypeVar

import msgspec
import trio

from ..background import Background
from ..clock import HybridClock, MeshTime
from ..config import Config
from ..errors import LinkLost, NotAllowed, PotluckError, RemoteProtocolError, Unavailable
from ..identity.certificates import verify_chain
from ..identity.mesh import Identity
from ..ids import NodeId, distance, node_id_of
from ..membership.detector import Changed
from ..ports import Address, Store
from ..wire import records as wire
from ..wire.codec import Message
from ..wire.opening import CertificateDer
from ..wire.records import Contact, Record
from .lookup import Lookup, Query
from .peers import Members, Peer, Peers
from .records import NAMESPACES, refusal
from .routing import Routing
from .store import RecordStore

logger = logging.getLogger("potluck.dht")

M = TypeVar("M", bound=Message)

_STORES_AT_ONCE: Final = 256
_PUBLISHERS_MAX: Final = 4096


class Card(msgspec.Struct, frozen=True, array_like=True):
    """Value of a `node` record."""

    name: str
    host: str
    port: int
    chain: list[CertificateDer]
    boot_id: bytes
    capabilities: bytes = b""


card_decoder: Final = msgspec.msgpack.Decoder(Card)


class Dht:
    """`start` runs something in the background for as long as the DHT runs."""

    def __init__(
        self,
        config: Config,
        identity: Identity,
        peers: Peers,
        members: Members,
        store: Store,
        mesh_time: MeshTime,
    ) -> None:
        self.config = config.dht
        self.identity = identity
        self.mesh_time = mesh_time
        self.clock = HybridClock(mesh_time.now_s, config.dht.clock_ahead_max_s)
        self.records = RecordStore(store, config.dht.clock_ahead_max_s)
        self._peers = peers
        self._links_config = config.links
        self._members = members
        self._disk = store
        self._routing = Routing(identity.node_id, config.dht.k)
        self._publishers: set[bytes] = {identity.key.public}
        self._stores_under_way = 0
        self._background = Background()
        self.start = self._background.start
        peers.up.append(self._link_up)
        members.observers.append(self._member_changed)
        peers.on(wire.FindNode, self._find_node)
        peers.on(wire.FindValue, self._find_value)
        peers.on(wire.Store, self._store)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.records.load(self.mesh_time.now_s())
        await self._background.run(task_status=task_status)

    # Who is near

    def is_present(self, node_id: bytes) -> bool:
        """Whether membership holds it for alive; of a node it has never heard of, contacts speak."""
        member = self._members.get(node_id)
        return node_id == self.identity.node_id or member is None or member.present

    def nearest_members(self, place: bytes, count: int) -> list[Contact]:
        """By the member list, this node included, nearest first."""
        own = self.identity.node_id
        contacts = [Contact(own, "", 0)]
        contacts += [Contact(one.node_id, one.address.host, one.address.port) for one in self._members.present()]
        return sorted(contacts, key=lambda contact: distance(contact.node_id, place))[:count]

    async def holders(self, place: bytes, count: int) -> list[Contact]:
        """The `count` live nodes nearest to a place, nearest first, this node included where it belongs.

        While everyone is a neighbour the member list is exact and fresh; beyond, the network is searched.
        """
        if len(self._members.present()) < self._links_config.neighbours_full:
            return self.nearest_members(place, count)
        found = await self.lookup(place, count)
        everyone = [Contact(self.identity.node_id, "", 0), *found]
        return sorted(everyone, key=lambda contact: distance(contact.node_id, place))[:count]

    async def lookup(self, target: bytes, count: int) -> list[Contact]:
        """Iterative search for the nearest live nodes; this node is not among them."""
        start = [one for one in self._routing.nearest(target) if self.is_present(one.node_id)]
        lookup = Lookup(target, start, count=count, alpha=self.config.alpha)
        answers_in, answers = trio.open_memory_channel[tuple[NodeId, list[Contact] | None]](self.config.alpha)
        async with trio.open_nursery() as nursery:
            while not lookup.done:
                for query in lookup.queries():
                    nursery.start_soon(self._query, query, target, answers_in)
                node_id, contacts = await answers.receive()
                if contacts is None:
                    lookup.failed(node_id)
                else:
                    own = self.identity.node_id
                    usable = [one for one in contacts if one.node_id != own and self.is_present(one.node_id)]
                    lookup.answered(node_id, usable)
            nursery.cancel_scope.cancel()
        return lookup.nearest()

    async def _query(
        self, query: Query, target: bytes, answers: trio.MemorySendChannel[tuple[NodeId, list[Contact] | None]]
    ) -> None:
        contact = query.contact
        try:
            nodes = await self.ask(contact, lambda number: wire.FindNode(number, target), wire.Nodes)
        except (Unavailable, NotAllowed):
            await answers.send((NodeId(contact.node_id), None))
        else:
            await answers.send((NodeId(contact.node_id), nodes.contacts))

    async def ask(self, contact: Contact, make: Callable[[int], Message], answer_type: type[M]) -> M:
        """One request, tried again after `request_timeout_s`. Raises Unavailable or NotAllowed."""
        for attempt in range(self.config.request_tries):
            link = await self._peers.link_to(NodeId(contact.node_id), Address(contact.host, contact.port))
            try:
                return await link.request(make, answer_type, self.config.request_timeout_s)
            except Unavailable:
                if attempt == self.config.request_tries - 1 or not self.is_present(contact.node_id):
                    raise
        raise LinkLost("no tries are left")

    def round_trip_s(self) -> float:
        """The slowest smoothed round trip to a neighbour: what silence is measured by."""
        return max((link.round_trip_s for link in self._peers), default=0.0)

    def is_sound(self, record: Record, namespace: str, key: bytes) -> bool:
        """Whether a record that a holder answers with is what was asked for, and one it may hold."""
        if (record.namespace, record.key) != (namespace, key):
            return False
        return refusal(record, self.mesh_time.now_s(), self.config.clock_ahead_max_s) is None

    async def store_at(self, holder: Contact, record: Record) -> wire.Stored:
        """Raises Unavailable when the holder does not answer; a refusal is an answer."""
        if holder.node_id == self.identity.node_id:
            return await self.keep(record)
        return await self.ask(holder, lambda number: wire.Store(number, record), wire.Stored)

    # What peers ask

    def _link_up(self, link: Peer) -> None:
        self._routing.add(link.peer.node_id, link.peer.address)
        self._know(link.peer.public_key)

    def _member_changed(self, change: Changed) -> None:
        member = change.member
        if member.present:
            self._routing.add(member.node_id, member.address)
        else:
            self._routing.remove(member.node_id)

    def _find_node(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindNode)
        self._reply(link, wire.Nodes(message.request, self._routing.nearest(message.target)))

    def _find_value(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindValue)
        record = self.records.get(self.mesh_time.now_s(), message.namespace, message.key)
        self._reply(link, wire.Value(message.request, [] if record is None else [record]))

    def _store(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.Store)
        if self._stores_under_way >= _STORES_AT_ONCE:
            busy = Unavailable("too many stores at once")
            self._reply(link, wire.Stored(message.request, False, busy.wire_code, str(busy)))
            return
        self._stores_under_way += 1
        self.start(self._store_and_answer, link, message)

    async def _store_and_answer(self, link: Peer, message: wire.Store) -> None:
        try:
            answer = await self.keep(message.record, sender=link)
            self._reply(link, msgspec.structs.replace(answer, request=message.request))
        finally:
            self._stores_under_way -= 1

    def _reply(self, link: Peer, message: Message) -> None:
        try:
            link.post(message)
        except LinkLost:
            pass  # whoever asked asks again, or somebody else

    # This node's own share

    async def keep(self, record: Record, sender: Peer | None = None) -> wire.Stored:
        """Takes a record into this node's share; on disk when this returns. The answer says what became of it."""
        now_s = self.mesh_time.now_s()
        error: PotluckError | None = refusal(record, now_s, self.config.clock_ahead_max_s)
        if error is None and not await self._is_member(record, sender):
            error = NotAllowed("the publisher is not known as a member of this mesh")
        if error is not None:
            return wire.Stored(0, False, error.wire_code, str(error))
        self.clock.observe(record.version)
        newer = self.records.put(now_s, record)
        if newer is not None:
            return wire.Stored(0, False, newer=newer)
        if NAMESPACES[record.namespace].persistent:
            try:
                await self._disk.commit()
            except Unavailable as full:
                return wire.Stored(0, False, full.wire_code, str(full))
        return wire.Stored(0, True)

    async def _is_member(self, record: Record, sender: Peer | None) -> bool:
        """By a link it has had, by its card, or by the card that whoever sends the record has of it."""
        if record.publisher in self._publishers:
            return True
        if record.namespace == "node":
            return self._proves(record)
        if sender is None:
            return False
        publisher = node_id_of(record.publisher)
        try:
            value = await sender.request(
                lambda number: wire.FindValue(number, "node", publisher), wire.Value, self.config.request_timeout_s
            )
        except Unavailable:
            return False
        return any(self._proves(card) for card in value.records if card.publisher == record.publisher)

    def _proves(self, record: Record) -> bool:
        """Whether a `node` record carries a chain of this mesh for its publisher."""
        try:
            card = card_decoder.decode(record.value)
            member = verify_chain(card.chain, self.identity.mesh.root_der, card.chain[0] if card.chain else b"")
        except (msgspec.MsgspecError, ValueError, RecursionError, NotAllowed, RemoteProtocolError):
            return False
        if member.node_public_key != record.publisher:
            return False
        self._know(record.publisher)
        return True

    def _know(self, public_key: bytes) -> None:
        if len(self._publishers) >= _PUBLISHERS_MAX:
            self._publishers = {self.identity.key.public}
        self._publishers.add(public_key)
