"""Put and get over the holders of a place.

A put is acknowledged when this version is on disk at a majority of the holders; the rest, and further copies of small
values, follow in the background. A holder that has a newer version says so, and the writer tries again above it. A
holder that dies meanwhile is replaced by the next nearest.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final

import msgspec
import trio

from ..errors import NotAllowed, PotluckError, Refused, Unavailable, from_wire
from ..ids import NodeId
from ..wire import records as wire
from ..wire.records import Contact, Record
from . import batches
from .reading import ManyReadings, Reading
from .records import LASTING, NAMESPACES, TOMBSTONE_S, Draft, has_further_copies, place_of, sign
from .service import Dht

logger = logging.getLogger("potluck.dht")

_RETRY_PAUSE_S: Final = 0.1
_LATE_PAUSE_MAX_S: Final = 2.0
"""Nobody waits for what is late: a holder that has no time, or no room on its disk, is asked ever more rarely."""
_READ_AT_ONCE: Final = 32
_LIAR_ALONE_DECIDES: Final = 2
"""Of so few holders all must agree, and the word of one is enough to refuse: if there are no others, who are missing
now and may accept what it refuses."""
_LATE_MAX: Final = 1024
"""Stores that go on in the background for holders that have not answered."""


class Put(msgspec.Struct, frozen=True):
    version: int
    replicas: int
    """Holders that had it on disk when the put was acknowledged."""
    agreed: bool = False
    """Nothing was written: the key has become a register, and is written there."""


class Write(msgspec.Struct, frozen=True):
    """What one `put` is told, for several together."""

    namespace: str
    key: bytes
    value: bytes
    ttl_s: float | None = None


class Replication:
    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self._config = dht.config
        self._late = 0

    # Writing

    async def put(self, namespace: str, key: bytes, value: bytes, ttl_s: float | None = None) -> Put:
        """Writes a new version. Raises Unavailable when no majority acknowledges in time, or the holders' refusal."""
        return await self._write(self._draft(namespace, key, value, ttl_s))

    async def put_many(self, writes: Iterable[Write]) -> None:
        """Writes a new version of each key, with one message to each holder. Raises as `put` does."""
        drafts = [self._draft(one.namespace, one.key, one.value, one.ttl_s) for one in writes]
        left = await self._spread_together([sign(draft, self._dht.identity.key) for draft in drafts])
        for draft in drafts:
            if draft.version in left:
                await self._write(draft)

    async def make_agreed(self, namespace: str, key: bytes, value: bytes) -> Put:
        """Says for ever that this key is a register, which begins with `value`. Plain writes are refused from then on:
        of those under way at the same time, one that a majority has taken may be superseded."""
        return await self._write(msgspec.structs.replace(self._draft(namespace, key, value, None), agreed=True))

    async def delete(self, namespace: str, key: bytes) -> Put:
        """Writes a tombstone."""
        return await self._write(msgspec.structs.replace(self._draft(namespace, key, b"", TOMBSTONE_S), deleted=True))

    def _draft(self, namespace: str, key: bytes, value: bytes, ttl_s: float | None) -> Draft:
        expires_at_s = LASTING if ttl_s is None else self._dht.mesh_time.now_s() + ttl_s
        return Draft(namespace, key, value, self._dht.clock.next_version(), expires_at_s)

    async def _write(self, draft: Draft) -> Put:
        outdaters: set[NodeId] = set()
        with trio.move_on_after(self._config.operation_timeout_s):
            while True:
                outcome = await _Spreading(self, sign(draft, self._dht.identity.key), outdaters).run()
                if isinstance(outcome, Put):
                    return outcome
                if outcome is not None and outcome.agreed and not draft.agreed:
                    return Put(outcome.version, 0, agreed=True)
                if outcome is not None:  # a holder has a newer version: ours must come after it
                    self._dht.clock.observe(outcome.version)
                    draft = msgspec.structs.replace(draft, version=self._dht.clock.next_version())
                else:
                    await trio.sleep(_RETRY_PAUSE_S)
        raise Unavailable(f"no majority of the holders of {_shown(draft.key)} has acknowledged the write")

    async def _spread_together(self, records: Sequence[Record]) -> set[int]:
        """One try for several records; the versions that it has not brought to a majority."""
        missing: dict[int, int] = {}
        batched: dict[NodeId, tuple[Contact, list[Record]]] = {}
        for record in records:
            holders = await self._dht.holders(place_of(record), self._config.replicas)
            missing[record.version] = len(holders) // 2 + 1
            for holder in holders:
                batched.setdefault(NodeId(holder.node_id), (holder, []))[1].append(record)
        async with trio.open_nursery() as nursery:
            for holder, those in batched.values():
                nursery.start_soon(self._store_batches, holder, those, missing)
        return {version for version, lacking in missing.items() if lacking > 0}

    async def _store_batches(self, holder: Contact, records: Sequence[Record], missing: dict[int, int]) -> None:
        try:
            for batch in batches.cut(records):
                verdicts = await batches.store(self._dht, holder, batch)
                for record, verdict in zip(batch, verdicts, strict=True):
                    missing[record.version] -= verdict.accepted
        except (Unavailable, NotAllowed) as error:
            logger.debug("a batch was not stored: %s", error)

    async def store_late(self, holder: Contact, record: Record, asked: Collection[Contact]) -> None:
        """Goes on until a holder that has not answered has the record, or the time of a write is over. Once it is gone,
        whoever holds the record in its stead gets it, and was not `asked` before: that one may have looked already for
        what has become due, and found the others before they had this."""
        if self._late >= _LATE_MAX:
            return
        self._late += 1
        pause_s = _RETRY_PAUSE_S
        try:
            with trio.move_on_after(self._config.operation_timeout_s):
                while self._dht.is_present(holder.node_id) and await self.store_once(holder, record) is None:
                    await trio.sleep(pause_s)
                    pause_s = min(2 * pause_s, _LATE_PAUSE_MAX_S)
                if not self._dht.is_present(holder.node_id):
                    await self._store_at_heirs(record, {one.node_id for one in asked})
        except Unavailable as error:
            logger.debug("who holds a record in a dead node's stead was not found: %s", error)
        finally:
            self._late -= 1

    async def _store_at_heirs(self, record: Record, asked: Collection[bytes]) -> None:
        for heir in await self._dht.holders(place_of(record), self._config.replicas):
            if heir.node_id not in asked:
                await self.store_once(heir, record)

    async def store_once(self, holder: Contact, record: Record) -> wire.Stored | None:
        """None where the holder does not answer or has no time now."""
        try:
            stored = await self._dht.store_at(holder, record)
        except (Unavailable, NotAllowed):
            return None
        waits = not stored.accepted and stored.newer is None and isinstance(_reason(stored), Unavailable)
        return None if waits else stored

    async def spread_far(self, record: Record) -> None:
        """Further copies of a small lasting value, so that losing a third of the nodes at once loses nothing."""
        if not has_further_copies(record, self._config.small_value_bytes):
            return
        near = self._config.replicas
        try:
            for holder in (await self._dht.holders(place_of(record), near + self._config.replicas_far))[near:]:
                await self.store_once(holder, record)
        except PotluckError as error:
            logger.debug("further copies were not made: %s", error)

    @property
    def dht(self) -> Dht:
        return self._dht

    # Reading

    async def get(self, namespace: str, key: bytes) -> Record | None:
        """The newest version, None where there is none or it was deleted. Raises Unavailable."""
        found = await self.get_all(namespace, key)
        return found[0] if found else None

    async def get_all(self, namespace: str, key: bytes) -> list[Record]:
        """Of a holder set the newest record of each publisher. Raises Unavailable."""
        limit_s = trio.current_time() + self._config.operation_timeout_s
        while True:
            try:
                return _alive(await Reading(self._dht, namespace, key).run())
            except Unavailable as error:
                if trio.current_time() + _RETRY_PAUSE_S > limit_s:
                    raise Unavailable(f"not enough holders of {_shown(key)}: {error}") from error
                await trio.sleep(_RETRY_PAUSE_S)

    async def get_many(self, namespace: str, keys: Iterable[bytes], found: Callable[[Record], None]) -> None:
        """Tells the newest version of each key that has one, as it is known: most with one message to each holder.
        Raises Unavailable when that is so of one of them; of the others it has told."""
        left = dict.fromkeys(keys)
        for key, records in (await ManyReadings(self._dht, namespace, left).run()).items():
            del left[key]
            for record in _alive(records):
                found(record)
        unread: list[Unavailable] = []
        slots = trio.CapacityLimiter(_READ_AT_ONCE)

        async def read(key: bytes) -> None:
            async with slots:
                try:
                    record = await self.get(namespace, key)
                except Unavailable as error:
                    unread.append(error)
                else:
                    if record is not None:
                        found(record)

        async with trio.open_nursery() as nursery:
            for key in left:
                nursery.start_soon(read, key)
        if unread:
            raise unread[0]


class _Spreading:
    """One try of a put. A holder's newer version counts once in a write: one that shows ever newer ones, each soundly
    signed, keeps nobody from writing."""

    def __init__(self, replication: Replication, record: Record, outdaters: set[NodeId]) -> None:
        self._replication = replication
        self._dht = replication.dht
        self._record = record
        self._outdaters = outdaters
        self._refusals: list[PotluckError] = []
        self._acknowledged = 0

    async def run(self) -> Put | Record | None:
        """Acknowledged, outdated by the record returned, or None for too few answers. Raises a refusal that left no
        majority; one holder alone can neither refuse for others, silent ones included, nor invent a newer version."""
        holders = await self._dht.holders(place_of(self._record), self._dht.config.replicas)
        results_in, results = trio.open_memory_channel[tuple[Contact, wire.Stored | None]](len(holders))
        for holder in holders:
            self._dht.start(self._store_at, holder, results_in, holders)
        majority = len(holders) // 2 + 1
        for left in range(len(holders) - 1, -1, -1):
            newer = self._count(*await results.receive())
            if newer is not None:
                return newer
            if self._acknowledged >= majority:
                self._dht.start(self._replication.spread_far, self._record)
                return Put(self._record.version, self._acknowledged)
            if self._acknowledged + left < majority:
                break
        refused = [one for one in self._refusals if isinstance(one, Refused)]
        one_decides = len(holders) <= _LIAR_ALONE_DECIDES and not self._dht.somebody_is_missing()
        if len(refused) > (0 if one_decides else 1):
            raise refused[-1]
        return None

    def _count(self, holder: Contact, stored: wire.Stored | None) -> Record | None:
        if stored is None:
            return None
        if stored.newer is not None:
            node_id = NodeId(holder.node_id)
            if node_id not in self._outdaters and self._outdates(stored.newer):
                self._outdaters.add(node_id)
                return stored.newer
        elif stored.accepted:
            self._acknowledged += 1
        else:
            self._refusals.append(_reason(stored))
        return None

    def _outdates(self, newer: Record) -> bool:
        """Whether what a holder shows is really a later version of the same."""
        record = self._record
        return self._dht.is_sound(newer, record.namespace, record.key) and NAMESPACES[record.namespace].wins(
            newer, record
        )

    async def _store_at(
        self,
        holder: Contact,
        results: trio.MemorySendChannel[tuple[Contact, wire.Stored | None]],
        holders: Collection[Contact],
    ) -> None:
        stored = await self._replication.store_once(holder, self._record)
        results.send_nowait((holder, stored))  # there is room for one result of each holder
        if stored is None:
            await self._replication.store_late(holder, self._record, holders)


def _alive(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if not record.deleted]


def _reason(stored: wire.Stored) -> PotluckError:
    return from_wire(stored.code, stored.reason)


def _shown(key: bytes) -> str:
    return repr(key.decode(errors="backslashreplace"))
