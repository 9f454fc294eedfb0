"""One get, and many.

A reader asks a majority of the holders, this node first where it is one, and one more whenever one stays silent for
three round trips. The newest answer counts as soon as a majority has answered that covers the place. Failing that,
when everyone alive has answered, the newest counts if a majority has the key; "not found" needs everyone alive, and a
majority that covers the place. Whoever turns out to have less than the others, however late its answer, is given the
rest.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Final

import msgspec
import trio

from ..bell import Bell
from ..errors import NotAllowed, Syncing, Unavailable
from ..ids import NodeId, key_id
from ..wire import records as wire
from ..wire.records import Contact, Record
from .batches import fetch
from .inquiry import Inquiry
from .records import place_of, winners
from .service import Dht

logger = logging.getLogger("potluck.dht")

_HEDGE_ROUND_TRIPS: Final = 3.0
_HEDGE_MIN_S: Final = 0.05
"""Of a node that is busy for a moment nobody else need be asked."""


class Answer(msgspec.Struct, frozen=True):
    """What one holder has. `covers`: what it lacks it would have if it existed."""

    records: tuple[Record, ...]
    covers: bool


def quorum(dht: Dht, holders: Sequence[Contact]) -> int:
    """How many of the holders there must be one that has what was acknowledged. While membership is changing, of as
    many as there were before."""
    return min(len(holders), max(len(holders), dht.share.syncing.holders) // 2 + 1)


class Reading:
    """One get of one key."""

    def __init__(self, dht: Dht, namespace: str, key: bytes) -> None:
        self._dht = dht
        self._namespace = namespace
        self._key = key
        self._place = key_id(namespace, key)
        self._answers: dict[NodeId, Answer] = {}
        self._failed: set[NodeId] = set()
        self._asked = Inquiry(dht)
        self._need = 1
        self._moved = Bell()

    async def run(self) -> list[Record]:
        """The newest, or of a holder set the newest of each publisher; tombstones included. Raises Unavailable."""
        replicas = self._dht.config.replicas
        if self._dht.contacts.everyone_is_known:
            holders = self._dht.nearest_members(self._place, replicas)
            need = quorum(self._dht, holders)
            await self._ask_holders(holders, need)
        else:
            holders = await self._search(replicas // 2 + 1)
            need = min(replicas, len(holders)) // 2 + 1
        best = self._judge(holders, need)
        if self._asked or any(set(best).difference(answer.records) for answer in self._of(holders)):
            self._dht.start(self._mend, holders)
        return best

    async def _ask_holders(self, holders: Sequence[Contact], need: int) -> None:
        """Until enough have answered, or all."""
        self._need = need
        waiting = _this_node_first(holders, self._dht.identity.node_id)
        for contact in waiting[:need]:
            self._ask(contact)
        del waiting[:need]
        silent = False
        while not self._enough(holders, need) and (waiting or self._asked):
            if waiting and (silent or self._failed or len(self._answers) >= need):
                self._ask(waiting.pop(0))
            silent = await self._silence()

    async def _search(self, need: int) -> list[Contact]:
        """Everyone who is asked the way to the holders is asked for the record: whoever has it says so at once. One
        more than have to answer are asked at a time."""
        self._ask(Contact(self._dht.identity.node_id, "", 0))
        search = self._dht.contacts.search(self._place, self._dht.config.replicas, self._ask_on_the_way, need + 1)
        with trio.move_on_after(self._dht.config.operation_timeout_s):
            return await search.run(lambda nearest: self._enough(nearest, need))
        raise Unavailable("the search for them takes too long")

    async def _ask_on_the_way(self, contact: Contact) -> list[Contact]:
        value = await self._value_at(contact)
        self._note(contact, value)
        return value.contacts

    # What has been answered

    def _of(self, holders: Iterable[Contact]) -> list[Answer]:
        found = (self._answers.get(NodeId(contact.node_id)) for contact in holders)
        return [answer for answer in found if answer is not None]

    def _enough(self, holders: Iterable[Contact], need: int) -> bool:
        answers = self._of(holders)
        return sum(answer.covers for answer in answers) >= need and any(answer.records for answer in answers)

    def _judge(self, holders: Sequence[Contact], need: int) -> list[Record]:
        best, answers = self._best(), self._of(holders)
        covering = sum(answer.covers for answer in answers)
        if covering >= need and best:
            return best
        if any(self._dht.is_present(node_id) for node_id in self._failed):
            raise Unavailable("one of them does not answer")
        having = sum(bool(answer.records) for answer in answers)
        if covering < need and (having < need or self._dht.share.syncing.settled is None):
            raise Syncing("they are still receiving what they have to hold")
        return best

    def _best(self) -> list[Record]:
        return winners(record for answer in self._answers.values() for record in answer.records)

    # Asking

    async def _silence(self) -> bool:
        """Until as many have answered as are needed, or one has failed; whether nothing of the kind happens for three
        round trips of those that are asked, or of all lately: where everyone is slow because everyone is busy, asking
        more would make them slower."""
        longest_s = max(self._asked.slowest_s, self._dht.contacts.round_trip_s)
        with trio.move_on_after(max(_HEDGE_MIN_S, _HEDGE_ROUND_TRIPS * longest_s)) as patience:
            await self._moved.heard()
        self._asked.give_up_the_silent()
        return patience.cancelled_caught

    def _ask(self, contact: Contact) -> None:
        node_id = NodeId(contact.node_id)
        if node_id == self._dht.identity.node_id:
            share = self._dht.share
            self._answers[node_id] = Answer(tuple(share.at(self._place)), share.syncing.covers(self._place))
        else:
            self._asked.ask(node_id, self._question, wire.Value, partial(self._hear, contact))

    def _question(self, number: int) -> wire.FindValue:
        return wire.FindValue(number, self._namespace, self._key)

    def _hear(self, contact: Contact, value: wire.Value | None) -> None:
        if value is None:
            self._failed.add(NodeId(contact.node_id))
        else:
            self._note(contact, value)
        self._move()

    def _move(self) -> None:
        if self._failed or not self._asked or len(self._answers) >= self._need:
            self._moved.ring()

    async def _value_at(self, contact: Contact) -> wire.Value:
        return await self._dht.ask(contact, self._question, wire.Value)

    def _note(self, contact: Contact, value: wire.Value) -> None:
        sound = (record for record in value.records if self._is_sound(record))
        self._answers[NodeId(contact.node_id)] = Answer(tuple(sound), not value.syncing)

    def _is_sound(self, record: Record) -> bool:
        """What another holder has answered with, or this node has itself, need not be verified again."""
        known = any(record in answer.records for answer in self._answers.values())
        return known or self._dht.is_sound(record, self._namespace, self._key)

    async def _mend(self, holders: Iterable[Contact]) -> None:
        """Who has less than the others gets the rest; answers that are still to come count."""
        while self._asked:
            await self._silence()
        best = self._best()
        for contact in holders:
            answer = self._answers.get(NodeId(contact.node_id))
            has = answer.records if answer is not None else best
            for record in (one for one in best if one not in has):
                await self._store_quietly(contact, record)

    async def _store_quietly(self, contact: Contact, record: Record) -> None:
        try:
            await self._dht.store_at(contact, record)
        except (Unavailable, NotAllowed) as error:
            logger.debug("a stale copy was not mended: %s", error)


def _this_node_first(holders: Iterable[Contact], own_id: bytes) -> list[Contact]:
    """Its own copy costs no message."""
    return sorted(holders, key=lambda contact: contact.node_id != own_id)


class ManyReadings:
    """One get of several keys, with one message to each holder. Only keys that their holders agree on at once are
    answered; the rest need a reading of their own."""

    def __init__(self, dht: Dht, namespace: str, keys: Iterable[bytes]) -> None:
        self._dht = dht
        self._namespace = namespace
        self._keys = {key_id(namespace, key): key for key in keys}
        self._answers: dict[bytes, list[Answer]] = {place: [] for place in self._keys}

    async def run(self) -> dict[bytes, list[Record]]:
        dht = self._dht
        asked: dict[NodeId, tuple[Contact, list[bytes]]] = {}
        need: dict[bytes, int] = {}
        for place in self._keys:
            holders = await dht.holders(place, dht.config.replicas)
            need[place] = quorum(dht, holders)
            for contact in _this_node_first(holders, dht.identity.node_id)[: need[place]]:
                asked.setdefault(NodeId(contact.node_id), (contact, []))[1].append(place)
        async with trio.open_nursery() as nursery:
            for contact, places in asked.values():
                nursery.start_soon(self._ask, contact, places)
        return {
            self._keys[place]: winners(answers[0].records)
            for place, answers in self._answers.items()
            if sum(answer.covers for answer in answers) >= need[place] and _is_one(answers)
        }

    async def _ask(self, contact: Contact, places: Sequence[bytes]) -> None:
        try:
            while places:
                fetched = await fetch(self._dht, contact, places)
                self._note(places[: fetched.covered], fetched)
                places = places[fetched.covered :]
        except (Unavailable, NotAllowed) as error:
            logger.debug("a holder was not read: %s", error)

    def _note(self, places: Iterable[bytes], fetched: wire.Fetched) -> None:
        there: dict[bytes, list[Record]] = {}
        for record in fetched.records:
            if self._dht.is_sound(record, self._namespace, record.key):
                there.setdefault(place_of(record), []).append(record)
        syncing = set(fetched.syncing)
        for place in places:
            self._answers[place].append(Answer(tuple(there.get(place, ())), place not in syncing))


def _is_one(answers: Sequence[Answer]) -> bool:
    """Whether all of them have the same, and something."""
    first = set(answers[0].records)
    return bool(first) and all(set(answer.records) == first for answer in answers)
