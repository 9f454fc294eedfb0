"""Shell of this node's share of the records: takes them in, within limits and onto the disk, and answers peers."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, Protocol

import msgspec
import trio

from ..clock import HybridClock, MeshTime, time_of
from ..config import Dht as DhtConfig
from ..errors import LimitExceeded, NotAllowed, PotluckError, RemoteProtocolError, Unavailable
from ..identity.bans import BanSet
from ..identity.mesh import Identity
from ..ids import key_id, node_id_of
from ..ports import Store
from ..wire import records as wire
from ..wire.codec import Message, decoded
from ..wire.framing import VALUE_BYTES_MAX
from ..wire.opening import CertificateDer
from ..wire.records import Holding, Record
from .attendance import Attendance
from .contacts import Contacts
from .limits import Limits
from .peers import Peer, Peers
from .publishers import Publishers
from .records import NAMESPACES, TOMBSTONE_S, refusal
from .restating import restated
from .store import RecordStore, size_bytes
from .syncing import Syncing

logger = logging.getLogger("potluck.dht")


class Card(msgspec.Struct, frozen=True, array_like=True):
    """Value of a `node` record."""

    name: str
    host: str
    port: int
    chain: list[CertificateDer]
    boot_id: bytes
    capabilities: bytes = b""
    audit_number: int = 0
    audit_digest: bytes = b""
    """Head of its audit log."""


card_decoder: Final = msgspec.msgpack.Decoder(Card)
ACCEPTED: Final = wire.Stored(0, True)


class Surroundings(Protocol):
    """The DHT that a share is part of, as far as the share needs it."""

    @property
    def config(self) -> DhtConfig: ...

    @property
    def identity(self) -> Identity: ...

    @property
    def mesh_time(self) -> MeshTime: ...

    @property
    def clock(self) -> HybridClock: ...

    @property
    def contacts(self) -> Contacts: ...

    @property
    def bans(self) -> BanSet: ...

    def start(self, work: Callable[..., Awaitable[object]], *args: object) -> None: ...


class Share:
    def __init__(self, dht: Surroundings, store: Store) -> None:
        self._dht = dht
        self._config = dht.config
        self._mesh_time = dht.mesh_time
        self._key = dht.identity.key
        self._disk = store
        self._bans = dht.bans
        self.records = RecordStore(store, dht.config.clock_ahead_max_s)
        self.publishers = Publishers(dht.identity, store, self.records.usage.__contains__)
        self.syncing = Syncing(dht.identity.node_id, dht.config.replicas)
        self.attendance = Attendance(store)
        self._limits = Limits(dht.config)
        self._restating = 0
        dht.mesh_time.stepped.append(self._stepped)
        dht.mesh_time.met.append(self._met)

    def serve(self, peers: Peers) -> None:
        peers.up.append(self._link_up)
        peers.on(wire.FindValue, self._find_value)
        peers.on(wire.Fetch, self._fetch)
        peers.on(wire.Store, self._store)
        peers.on(wire.StoreMany, self._store_many)
        peers.on(wire.ListRange, self._list_range)
        peers.on(wire.FindChain, self._find_chain)

    def load(self) -> None:
        self.records.load(self._mesh_time.now_s())
        newest = self.records.newest()
        self._mesh_time.not_before(time_of(newest))
        self.publishers.load()
        self.drop_shunned()
        self.attendance.load(newest)

    def _link_up(self, link: Peer) -> None:
        self.publishers.know(link.peer.public_key, link.peer.owner_id, link.peer.chain)

    def _stepped(self, step_s: float) -> None:
        """Lesser steps are within what every holder takes."""
        if abs(step_s) > self._config.clock_ahead_max_s:
            own = (record for record in self.records if record.publisher == self._key.public)
            alone = [record for record in own if record.version > self.attendance.met_version]
            self._restating += 1
            self._dht.start(self._restate, alone, step_s)

    def _met(self) -> None:
        if not self._restating:
            self.attendance.met()

    async def _restate(self, own: list[Record], step_s: float) -> None:
        for record in own:
            self.records.replace(record, restated(record, step_s, self._key))
            await trio.lowlevel.checkpoint()
        self._restating -= 1
        self._met()
        try:
            await self.commit()
        except Unavailable as full:
            logger.warning("records could not be put into the mesh's time: %s", full)

    # What is here

    def at(self, place: bytes, *, stale: bool = False) -> list[Record]:
        """What this node answers a reader with. What may have been deleted while it was away it keeps to itself until
        it knows; `stale` shows that, too."""
        now_s = self._mesh_time.now_s()
        records = self.records.get(now_s, place)
        if stale or self.syncing.covers(place) or not self.attendance.was_long_away(now_s):
            return records
        return [record for record in records if not self._is_old(record.version, now_s)]

    def _is_old(self, version: int, now_s: float) -> bool:
        """A tombstone that came after it may have expired."""
        return time_of(version) < now_s - TOMBSTONE_S

    def range(self, near: bytes, bits: int, after: bytes = b"") -> list[Holding]:
        """One page of what is here of the places that share `bits` leading bits with `near`."""
        now_s = self._mesh_time.now_s()
        self.records.expire(now_s)
        here = self.attendance.had_company and not self.attendance.was_long_away(now_s)
        return [
            msgspec.structs.replace(holding, stale=True)
            if self._is_old(holding.version, now_s) and not (here and self.syncing.covers(holding.place))
            else holding
            for holding in self.records.range(near, bits, after, wire.LISTED_MAX)
        ]

    @property
    def since_s(self) -> float:
        """From when on it has missed no deletion; infinity for a node that was away for long."""
        away = self.attendance.was_long_away(self._mesh_time.now_s())
        return math.inf if away else self.attendance.since_s

    # Taking in

    async def commit(self) -> None:
        """Everything taken in, and everything noted, is on disk afterwards. Raises Unavailable."""
        await self._disk.commit()

    async def keep(self, record: Record, sender: Peer | None = None) -> wire.Stored:
        """Takes a record into this node's share; on disk when this returns. The answer says what became of it."""
        return (await self.keep_many([record], sender))[0]

    async def keep_many(self, records: Sequence[Record], sender: Peer | None = None) -> list[wire.Stored]:
        """The same for several, with one commit."""
        answers = [await self._take(record, sender) for record in records]
        if any(
            answer.accepted and NAMESPACES[record.namespace].persistent
            for record, answer in zip(records, answers, strict=True)
        ):
            try:
                await self._disk.commit()
            except Unavailable as full:
                return [_refused(full) if answer.accepted else answer for answer in answers]
        return answers

    async def _take(self, record: Record, sender: Peer | None) -> wire.Stored:
        now_s = self._mesh_time.now_s()
        error: PotluckError | None = refusal(record, now_s, self._config.clock_ahead_max_s)
        if error is None and not await self._is_member(record, sender):
            error = NotAllowed("the publisher is not known as a member of this mesh")
        if error is None and self.is_shunned(record):
            error = NotAllowed("the publisher is banned from this mesh")
        if error is None:
            error = self._lack_of_room(record)
        if error is not None:
            return _refused(error)
        self._dht.clock.observe(record.version)
        newer = self.records.put(now_s, record)
        if newer is not None:
            return wire.Stored(0, False, newer=newer)
        if NAMESPACES[record.namespace].persistent:
            self.publishers.keep(record.publisher)
        return ACCEPTED

    def _lack_of_room(self, record: Record) -> PotluckError | None:
        if not self.records.has_room(record):
            return LimitExceeded(f"{wire.SET_RECORDS_MAX} others have published under this key")
        owner = self.publishers.owner_of(record.publisher)
        assert owner is not None, "a member has an owner"
        nodes = self.publishers.of_owner(owner)
        present = self.records.replaced_by(record)
        if present is None and self.records.writers(record, nodes) >= self._config.owner_set_records_max:
            return LimitExceeded(
                f"{self._config.owner_set_records_max} nodes of this owner have published under this key"
            )
        usage = self.records.usage
        return self._limits.room(record, present, [usage[node] for node in nodes if node in usage])

    async def _is_member(self, record: Record, sender: Peer | None) -> bool:
        """By a link it has had, by its card, or by the chain that whoever sends the record has of it."""
        if self.publishers.owner_of(record.publisher) is not None:
            return True
        if record.namespace == "node":
            return self._proves_itself(record)
        if sender is None:
            return False
        try:
            chain = await sender.request(
                lambda number: wire.FindChain(number, record.publisher), wire.Chain, self._config.request_timeout_s
            )
        except Unavailable:
            return False
        return self._proves(record.publisher, chain.certificates)

    def is_shunned(self, record: Record) -> bool:
        """Written by a banned node. That a key has become agreed stays true whoever has said it."""
        return not record.agreed and node_id_of(record.publisher) in self._bans.nodes

    def drop_shunned(self) -> None:
        """Somebody has been banned: what they wrote is not kept."""
        for public_key, chain in self.publishers.chains():
            self._bans.judge(node_id_of(public_key), chain)
        for record in self.records:
            if self.is_shunned(record):
                self.records.forget(record)

    def _proves_itself(self, record: Record) -> bool:
        """Whether a `node` record carries a chain of this mesh for its publisher."""
        try:
            card = decoded(card_decoder, record.value, "a card")
        except RemoteProtocolError:
            return False
        return self._proves(record.publisher, card.chain)

    def _proves(self, public_key: bytes, chain: Sequence[bytes]) -> bool:
        proved = self.publishers.prove(public_key, chain)
        if proved:
            self._bans.judge(node_id_of(public_key), chain)
        return proved

    # What peers ask

    def _find_value(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindValue)
        contacts = self._dht.contacts
        contacts.heard(link.peer.node_id, link.peer.address)
        place = key_id(message.namespace, message.key)
        nearer = [] if contacts.everyone_is_known else contacts.nearest(place)
        link.tell(wire.Value(message.request, self.at(place), nearer, not self.syncing.covers(place)))

    def _fetch(self, link: Peer, message: Message) -> None:
        """Whole places, as many as fit into one frame."""
        assert isinstance(message, wire.Fetch)
        records: list[Record] = []
        covered = room_bytes = 0
        for covered, place in enumerate(message.places, 1):
            there = self.at(place, stale=message.stale)
            room_bytes += sum(map(size_bytes, there))
            if covered > 1 and room_bytes > VALUE_BYTES_MAX:
                covered -= 1
                break
            records += there
        syncing = [place for place in message.places[:covered] if not self.syncing.covers(place)]
        link.tell(wire.Fetched(message.request, covered, records, syncing))

    def _store(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.Store)
        error = self._begin(link, 1)
        if error is not None:
            link.tell(msgspec.structs.replace(_refused(error), request=message.request))
        else:
            self._dht.start(link.guarded, self._store_and_answer, link, message)

    async def _store_and_answer(self, link: Peer, message: wire.Store) -> None:
        try:
            answer = await self.keep(message.record, sender=link)
            link.tell(msgspec.structs.replace(answer, request=message.request))
        finally:
            self._limits.end(link.peer.node_id, 1)

    def _store_many(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.StoreMany)
        error = self._begin(link, len(message.records))
        if error is not None:
            busy = wire.Verdict(False, error.wire_code, str(error))
            link.tell(wire.StoredMany(message.request, [busy] * len(message.records)))
        else:
            self._dht.start(link.guarded, self._store_many_and_answer, link, message)

    async def _store_many_and_answer(self, link: Peer, message: wire.StoreMany) -> None:
        try:
            answers = await self.keep_many(message.records, sender=link)
            verdicts = [wire.Verdict(one.accepted, one.code, one.reason) for one in answers]
            link.tell(wire.StoredMany(message.request, verdicts))
        finally:
            self._limits.end(link.peer.node_id, len(message.records))

    def _begin(self, link: Peer, records: int) -> PotluckError | None:
        return self._limits.begin(self._mesh_time.now_s(), link.peer.node_id, link.peer.owner_id, records)

    def _list_range(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.ListRange)
        holdings = self.range(link.peer.node_id, message.bits, message.after)
        more = len(holdings) == wire.LISTED_MAX
        there = self.attendance
        link.tell(wire.Range(message.request, holdings, more, self.since_s, there.left_s, list(there.view)))

    def _find_chain(self, link: Peer, message: Message) -> None:
        assert isinstance(message, wire.FindChain)
        link.tell(wire.Chain(message.request, list(self.publishers.chain_of(message.publisher))))


def _refused(error: PotluckError) -> wire.Stored:
    return wire.Stored(0, False, error.wire_code, str(error))
