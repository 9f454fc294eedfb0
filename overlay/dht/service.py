"""Shell of the DHT on one node: answers peers, searches, and tells `replication` who holds what."""

from __future__ import annotations

import logging
from typing import Final, TypeVar

import msgspec
import trio

from ..background import Background
from ..clock import HybridClock, MeshTime
from ..config import Config
from ..errors import LinkLost, NotAllowed, PotluckError, RemoteProtocolError, Unavailable
from ..identity.bans import BanSet
from ..identity.certificates import verify_chain
from ..identity.mesh import Identity
from ..ids import distance, key_id, node_id_of
from ..ports import Store
from ..wire import records as wire
from ..wire.codec import Message
from ..wire.opening import CertificateDer
from ..wire.records import Contact, Record
from .contacts import Contacts
from .peers import Members, Peer, Peers
from .records import NAMESPACES, refusal
from .restating import restated
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
        bans: BanSet | None = None,
    ) -> None:
        """`bans`: those that links learn of; without links there are none."""
        self.config = config.dht
        self.identity = identity
        self.mesh_time = mesh_time
        self.clock = HybridClock(mesh_time.now_s, config.dht.clock_ahead_max_s)
        self.records = RecordStore(store, config.dht.clock_ahead_max_s)
        self._peers = peers
        self._members = members
        self._disk = store
        self._publishers: set[bytes] = {identity.key.public}
        self._bans = BanSet(identity.mesh.root_der) if bans is None else bans
        self._stores_under_way = 0
        self._background = Background()
        self.start = self._background.start
        self.contacts = Contacts(config, identity.node_id, peers, members, self.start)
        self.ask = self.contacts.ask
        mesh_time.stepped.append(self._stepped)
        peers.up.append(self._link_up)
        peers.on(wire.FindValue, self._find_value)
        peers.on(wire.Store, self._store)

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        self.records.load(self.mesh_time.now_s())
        self.mesh_time.not_before(self.records.newest_s())
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            nursery.start_soon(self.contacts.run)
            task_status.started()

    # Who is near

    def is_present(self, node_id: bytes) -> bool:
        """Whether membership holds it for alive; of a node it has never heard of, contacts speak."""
        member = self._members.get(node_id)
        return node_id == self.identity.node_id or member is None or member.present

    @property
    def everyone_is_known(self) -> bool:
        """While everyone is a neighbour the member list is exact; beyond, the network is searched."""
        return self._members.complete

    def nearest_members(self, place: bytes, count: int) -> list[Contact]:
        """By the member list, this node included, nearest first."""
        own = self.identity.node_id
        contacts = [Contact(own, "", 0)]
        contacts += [Contact(one.node_id, one.address.host, one.address.port) for one in self._members.present()]
        return sorted(contacts, key=lambda contact: distance(contact.node_id, place))[:count]

    async def holders(self, place: bytes, count: int) -> list[Contact]:
        """The `count` live nodes nearest to a place, nearest first, this node included where it belongs."""
        if self.everyone_is_known:
            return self.nearest_members(place, count)
        return await self.contacts.lookup(place, count)

    def round_trip_s(self) -> float:
        """The slowest smoothed round trip to a neighbour: what silence is measured by."""
        return max((link.round_trip_s for link in self._peers), default=0.0)

    def is_sound(self, record: Record, namespace: str, key: bytes) -> bool:
        """Whether a record that a holder answers with is what was asked for, and one it may hold."""
        if (record.namespace, record.key) != (namespace, key) or self._is_shunned(record):
            return False
        return refusal(record, self.mesh_time.now_s(), self.config.clock_ahead_max_s) is None

    async def store_at(self, holder: Contact, record: Record) -> wire.Stored:
        """Raises Unavailable when the holder does not answer; a refusal is an answer."""
        if holder.node_id == self.identity.node_id:
            return await self.keep(record)
        return await self.ask(holder, lambda number: wire.Store(number, record), wire.Stored)

    # What peers ask

    def _link_up(self, link: Peer) -> None:
        self._know(link.peer.public_key)

    def _find_value(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindValue)
        self.contacts.heard(link.peer.node_id, link.peer.address)
        record = self.records.get(self.mesh_time.now_s(), message.namespace, message.key)
        place = key_id(message.namespace, message.key)
        nearer = [] if self.everyone_is_known else self.contacts.nearest(place)
        self._reply(link, wire.Value(message.request, [] if record is None else [record], nearer))

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

    def _stepped(self, step_s: float) -> None:
        """Lesser steps are within what every holder takes."""
        if abs(step_s) > self.config.clock_ahead_max_s:
            own = [record for record in self.records if record.publisher == self.identity.key.public]
            self.start(self._restate, own, step_s)

    async def _restate(self, own: list[Record], step_s: float) -> None:
        for record in own:
            self.records.replace(record, restated(record, step_s, self.identity.key))
            await trio.lowlevel.checkpoint()
        try:
            await self._disk.commit()
        except Unavailable as full:
            logger.warning("records could not be put into the mesh's time: %s", full)

    async def keep(self, record: Record, sender: Peer | None = None) -> wire.Stored:
        """Takes a record into this node's share; on disk when this returns. The answer says what became of it."""
        now_s = self.mesh_time.now_s()
        error: PotluckError | None = refusal(record, now_s, self.config.clock_ahead_max_s)
        if error is None and self._is_shunned(record):
            error = NotAllowed("the publisher is banned from this mesh")
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

    def _is_shunned(self, record: Record) -> bool:
        """Written by a banned node. That a key has become agreed stays true whoever has said it."""
        return not record.agreed and node_id_of(record.publisher) in self._bans.nodes

    def drop_shunned(self) -> None:
        """Somebody has been banned: what they wrote is not kept."""
        self._publishers = {key for key in self._publishers if node_id_of(key) not in self._bans.nodes}
        for record in self.records:
            if self._is_shunned(record):
                self.records.forget(record)

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
        if member.node_public_key != record.publisher or self._bans.judge(member.node_id, card.chain):
            return False
        self._know(record.publisher)
        return True

    def _know(self, public_key: bytes) -> None:
        if len(self._publishers) >= _PUBLISHERS_MAX:
            self._publishers = {self.identity.key.public}
        self._publishers.add(public_key)
