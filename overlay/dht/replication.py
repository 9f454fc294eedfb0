"""Put and get over the holders of a place.

A put is acknowledged when this version is on disk at a majority of the holders; the rest, and further copies of small
values, follow in the background. A get answers with the newest of the first majority of holders, mends the stale ones
behind the caller's back, and says "not found" only when every live holder has said so.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import Final

import trio

from ..errors import NotAllowed, PotluckError, Refused, Unavailable, from_wire
from ..ids import NodeId, distance, key_id
from ..membership.detector import Changed
from ..wire import records as wire
from ..wire.records import Contact, Record
from .records import LASTING, NAMESPACES, Draft, newest, place_of, sign
from .service import Dht

logger = logging.getLogger("potluck.dht")

_HEDGE_ROUND_TRIPS: Final = 3.0
_HEDGE_MIN_S: Final = 0.02
_RETRY_PAUSE_S: Final = 0.1
_SETTLE_S: Final = 0.3
TOMBSTONE_S: Final = 30 * 86_400.0


@dataclass(frozen=True)
class Put:
    version: int
    replicas: int
    """Holders that had it on disk when the put was acknowledged."""
    agreed: bool = False
    """Nothing was written: the key has become a register, and is written there."""


class Replication:
    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self._config = dht.config
        self._view: set[NodeId] = {dht.identity.node_id}
        self._moved = trio.Event()

    async def put(self, namespace: str, key: bytes, value: bytes, ttl_s: float | None = None) -> Put:
        """Writes a new version. Raises Unavailable when no majority acknowledges in time, or the holders' refusal."""
        expires_at_s = LASTING if ttl_s is None else self._dht.mesh_time.now_s() + ttl_s
        return await self._write(Draft(namespace, key, value, self._dht.clock.next_version(), expires_at_s))

    async def make_agreed(self, namespace: str, key: bytes, value: bytes) -> Put:
        """Says for ever that this key is a register, which begins with `value`. Plain writes are refused from then on:
        of those under way at the same time, one that a majority has taken may be superseded."""
        return await self._write(Draft(namespace, key, value, self._dht.clock.next_version(), agreed=True))

    async def delete(self, namespace: str, key: bytes) -> Put:
        """Writes a tombstone."""
        expires_at_s = self._dht.mesh_time.now_s() + TOMBSTONE_S
        version = self._dht.clock.next_version()
        return await self._write(Draft(namespace, key, b"", version, expires_at_s, deleted=True))

    async def get(self, namespace: str, key: bytes) -> Record | None:
        """The newest version, None where there is none or it was deleted. Raises Unavailable."""
        with trio.move_on_after(self._config.operation_timeout_s):
            while True:
                reading = _Reading(self._dht, namespace, key)
                try:
                    record = await reading.run()
                except Unavailable:
                    await trio.sleep(_RETRY_PAUSE_S)
                    continue
                return None if record is None or record.deleted else record
        raise Unavailable(f"not enough holders of {_shown(key)} answer")

    async def _write(self, draft: Draft) -> Put:
        with trio.move_on_after(self._config.operation_timeout_s):
            while True:
                record = sign(draft, self._dht.identity.key)
                outcome = await self._spread(record)
                if isinstance(outcome, Put):
                    return outcome
                if outcome is not None and outcome.agreed and not draft.agreed:
                    return Put(outcome.version, 0, agreed=True)
                if outcome is not None:  # a holder has a newer version: ours must come after it
                    self._dht.clock.observe(outcome.version)
                    draft = replace(draft, version=self._dht.clock.next_version())
                else:
                    await trio.sleep(_RETRY_PAUSE_S)
        raise Unavailable(f"no majority of the holders of {_shown(draft.key)} has acknowledged the write")

    async def _spread(self, record: Record) -> Put | Record | None:
        """One try: acknowledged, outdated by the record returned, or None for too few answers. Raises a refusal that
        left no majority; one holder alone can neither refuse for the others nor invent a newer version.

        Stores that outlast the acknowledgement go on in the background.
        """
        place = place_of(record)
        holders = await self._dht.holders(place, self._config.replicas)
        results_in, results = trio.open_memory_channel[wire.Stored | None](len(holders))
        for holder in holders:
            self._dht.start(self._store_at, holder, record, results_in)
        majority = len(holders) // 2 + 1
        acknowledged = 0
        refusal: PotluckError | None = None
        for _ in holders:
            stored = await results.receive()
            if stored is None:
                continue
            if stored.newer is not None:
                if self._outdates(stored.newer, record):
                    return stored.newer
            elif not stored.accepted:
                refusal = from_wire(stored.code, stored.reason)
            else:
                acknowledged += 1
            if acknowledged >= majority:
                self._dht.start(self._spread_far, record)
                return Put(record.version, acknowledged)
        if isinstance(refusal, Refused):
            raise refusal
        return None

    def _outdates(self, newer: Record, record: Record) -> bool:
        """Whether what a holder shows is really a later version of the same."""
        if not self._dht.is_sound(newer, record.namespace, record.key):
            return False
        return NAMESPACES[record.namespace].wins(newer, record)

    async def _store_at(
        self, holder: Contact, record: Record, results: trio.MemorySendChannel[wire.Stored | None]
    ) -> None:
        try:
            stored: wire.Stored | None = await self._dht.store_at(holder, record)
        except (Unavailable, NotAllowed):
            stored = None
        await results.send(stored)

    async def _spread_far(self, record: Record) -> None:
        """Further copies of a small lasting value, so that losing a third of the nodes at once loses nothing."""
        if len(record.value) > self._config.small_value_bytes or not NAMESPACES[record.namespace].persistent:
            return
        near = self._config.replicas
        try:
            holders = await self._dht.holders(place_of(record), near + self._config.replicas_far)
            for holder in holders[near:]:
                await self._dht.store_at(holder, record)
        except PotluckError as error:
            logger.debug("a further copy was not made: %s", error)

    # Hand-over when members come and go

    def member_changed(self, change: Changed) -> None:
        if change.event in ("joined", "left", "died"):
            self._moved.set()

    async def run(self) -> None:
        """Moves records when membership changes: of the holders that had a record, the nearest hands it to those
        that hold it now and did not before. What is sent is bounded by what is due."""
        while True:
            await self._moved.wait()
            await trio.sleep(_SETTLE_S)  # several changes come together
            self._moved = trio.Event()
            before, now = self._view, self._present()
            self._view = now
            for record in self._dht.records:
                if NAMESPACES[record.namespace].persistent:
                    await self._hand_over(record, before)

    def _present(self) -> set[NodeId]:
        return {NodeId(one.node_id) for one in self._dht.nearest_members(bytes(20), 1 << 20)}

    async def _hand_over(self, record: Record, before: set[NodeId]) -> None:
        place = place_of(record)
        held = sorted(before, key=lambda node_id: distance(node_id, place))[: self._config.replicas]
        staying = [node_id for node_id in held if self._dht.is_present(node_id)]
        if not staying or staying[0] != self._dht.identity.node_id:
            return
        for holder in self._dht.nearest_members(place, self._config.replicas):
            if holder.node_id in held:
                continue
            try:
                await self._dht.store_at(holder, record)
            except (Unavailable, NotAllowed) as error:
                logger.debug("a record was not handed over: %s", error)


class _Reading:
    """One get."""

    def __init__(self, dht: Dht, namespace: str, key: bytes) -> None:
        self._dht = dht
        self._namespace = namespace
        self._key = key
        self._answers: dict[NodeId, Record | None] = {}
        self._arrived = trio.Event()

    async def run(self) -> Record | None:
        """Raises Unavailable when a live holder does not answer and no majority has the record."""
        place = key_id(self._namespace, self._key)
        if not self._dht.everyone_is_known:
            return await self._search(place)
        holders = self._dht.nearest_members(place, self._dht.config.replicas)
        majority = len(holders) // 2 + 1
        waiting = list(holders)
        failed: set[NodeId] = set()
        async with trio.open_nursery() as nursery:
            for contact in waiting[:majority]:
                nursery.start_soon(self._ask, contact, failed)
            del waiting[:majority]
            while not self._enough(majority) and len(self._answers) + len(failed) < len(holders):
                self._arrived = trio.Event()
                with trio.move_on_after(self._hedge_s()) as scope:
                    await self._arrived.wait()
                if waiting and (scope.cancelled_caught or failed or len(self._answers) >= majority):
                    nursery.start_soon(self._ask, waiting.pop(0), failed)
            nursery.cancel_scope.cancel()
        if not self._enough(majority) and any(self._dht.is_present(node_id) for node_id in failed):
            raise Unavailable("a holder does not answer")
        return self._concluded(holders)

    async def _search(self, place: bytes) -> Record | None:
        """Everyone who is asked the way to the holders is asked for the record: whoever has it says so at once.

        One more than have to answer are asked at a time.
        """
        here, replicas = NodeId(self._dht.identity.node_id), self._dht.config.replicas
        self._answers[here] = self._own_record()
        search = self._dht.contacts.search(place, replicas, self._ask_on_the_way, replicas // 2 + 2)
        return self._concluded(await search.run(self._are_enough))

    async def _ask_on_the_way(self, contact: Contact) -> list[Contact]:
        value = await self._value_at(contact)
        self._answers[NodeId(contact.node_id)] = self._sound(value)
        return value.contacts

    def _are_enough(self, holders: list[Contact]) -> bool:
        """A majority of the nearest, and one of them has the record."""
        majority = self._dht.config.replicas // 2 + 1
        return len(holders) >= majority and any(self._answers[NodeId(one.node_id)] for one in holders)

    def _concluded(self, holders: list[Contact]) -> Record | None:
        best = newest([record for record in self._answers.values() if record is not None])
        if best is not None:
            self._mend(best, holders)
        return best

    def _enough(self, majority: int) -> bool:
        return len(self._answers) >= majority and any(self._answers.values())

    def _hedge_s(self) -> float:
        return max(_HEDGE_MIN_S, _HEDGE_ROUND_TRIPS * self._dht.round_trip_s())

    async def _ask(self, contact: Contact, failed: set[NodeId]) -> None:
        node_id = NodeId(contact.node_id)
        try:
            self._answers[node_id] = await self._record_at(contact)
        except (Unavailable, NotAllowed):
            failed.add(node_id)
        self._arrived.set()

    async def _record_at(self, contact: Contact) -> Record | None:
        if contact.node_id == self._dht.identity.node_id:
            return self._own_record()
        return self._sound(await self._value_at(contact))

    def _own_record(self) -> Record | None:
        return self._dht.records.get(self._dht.mesh_time.now_s(), self._namespace, self._key)

    async def _value_at(self, contact: Contact) -> wire.Value:
        return await self._dht.ask(
            contact, lambda number: wire.FindValue(number, self._namespace, self._key), wire.Value
        )

    def _sound(self, value: wire.Value) -> Record | None:
        dht = self._dht
        return newest([record for record in value.records if dht.is_sound(record, self._namespace, self._key)])

    def _mend(self, best: Record, holders: list[Contact]) -> None:
        for contact in holders:
            node_id = NodeId(contact.node_id)
            if node_id in self._answers and self._answers[node_id] != best:
                self._dht.start(self._store_quietly, contact, best)

    async def _store_quietly(self, contact: Contact, record: Record) -> None:
        try:
            await self._dht.store_at(contact, record)
        except (Unavailable, NotAllowed) as error:
            logger.debug("a stale copy was not mended: %s", error)


def _shown(key: bytes) -> str:
    return repr(key.decode(errors="backslashreplace"))
