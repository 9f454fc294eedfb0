"""Shell of `syncing`: when membership has changed, asks those near by for what this node has to hold now.

Whoever starts anew asks everyone near; whoever loses a neighbour asks everyone again, because its reach has grown; of a
newcomer only its own share is asked for. A round has two steps: all list what they have in reach, then each missing
record is fetched once, in batches, from one of those that have it.

Shell of `parting`, too: once nothing has moved for a while, copies that nobody needs here are dropped; and before this
node says goodbye it gives what too few others have.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial
from typing import Final

import trio

from ..backoff import doubled_s
from ..bell import Bell
from ..errors import NotAllowed, Unavailable
from ..ids import NodeId, distance
from ..membership.detector import Changed
from ..wire import records as wire
from ..wire.records import Holding, Record
from .attendance import NOTE_EVERY_S
from .batches import cut, fetch, store
from .parting import owed, spare, surplus
from .records import has_further_copies, place_of
from .service import Dht
from .syncing import ID_BITS, Comparison, Due, Listing, View

logger = logging.getLogger("potluck.dht")

_SETTLE_S: Final = 0.1
"""Several changes come together."""
_SETTLE_LOSS_S: Final = 1.0
"""Of several that die at once: until all of that is known, readers and whoever is asked have enough to do."""
_PAUSE_S: Final = 0.5
_PAUSE_MAX_S: Final = 5.0
SURPLUS_S: Final = 30.0
"""After the last change of membership: whoever comes to hold a place has it by then, and readers know them."""
GIVE_S: Final = 3.0
"""A leaving node gives for no longer than this."""
_ROUNDS_MAX: Final = 6
"""Who has not answered in so many is not waited for: one node that is there and says nothing keeps nobody syncing."""
_LISTED_MAX: Final = 1 << 20
"""Places that one node may list: whoever lists more is not believed."""


class HandOver:
    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self._engine = dht.share.syncing
        self._moved = Bell()
        self._settle_until_s = -math.inf
        self._failures: Counter[NodeId] = Counter()
        self.taken = 0
        """Records fetched because they were due here."""
        self.given = 0
        """Records that others have taken because this node leaves."""

    def member_changed(self, change: Changed) -> None:
        if change.event == "returned":
            self._engine.missed()
            self._moved.ring()
        if change.event in ("joined", "left", "died"):
            if self._engine.view.is_moved_by(change.member.node_id, self._dht.config.k):
                self._engine.seen(self._near())
            settle_s = _SETTLE_LOSS_S if change.event == "died" else _SETTLE_S
            self._settle_until_s = max(self._settle_until_s, trio.current_time() + settle_s)
            self._moved.ring()

    async def run(self) -> None:
        await self._look_around()
        while True:
            self._moved.hush()
            if self._engine.settle():
                self._failures.clear()
                await self._note_company()
                with trio.move_on_after(SURPLUS_S) as nothing_moves:
                    await self._moved.heard()
                if nothing_moves.cancelled_caught:
                    await self._drop_surplus()
                    with trio.move_on_after(NOTE_EVERY_S - SURPLUS_S):
                        await self._moved.heard()
                await trio.sleep_until(max(self._settle_until_s, trio.current_time() + _SETTLE_S))
            else:
                await self._round()

    async def _look_around(self) -> None:
        """A node that had company is not alone because it has just started."""
        if self._dht.share.attendance.had_company:
            with trio.move_on_after(self._dht.config.look_around_s):
                await self._moved.heard()

    def _near(self) -> list[bytes]:
        own = self._dht.identity.node_id
        return [one.node_id for one in self._dht.nearest_members(own, self._dht.config.k + 1) if one.node_id != own]

    async def _note_company(self) -> None:
        share = self._dht.share
        if self._engine.view.others:
            share.attendance.note(self._dht.mesh_time.now_s(), self._engine.view.others)
            try:
                await share.commit()
            except Unavailable as full:
                logger.warning("cannot note when this node was last in company: %s", full)

    # One round

    async def _round(self) -> None:
        engine, losses = self._engine, self._engine.losses
        bits = engine.view.reach_bits()
        asked = engine.due
        listings = await self._listings(asked, bits)
        due = self._compare(listings, bits, whole=len(listings) == len(asked))
        failed: set[NodeId] = set()
        async with trio.open_nursery() as nursery:
            for node_id, places in due.fetch.items():
                nursery.start_soon(self._take_from, node_id, places, failed)
        self._forget(due)
        answered = listings.keys() - failed
        self._failures.update(set(asked) - answered)
        given_up = {node_id for node_id, rounds in self._failures.items() if rounds >= _ROUNDS_MAX}
        engine.taken(answered | given_up, losses)
        if engine.due:
            rounds = max(self._failures[node_id] for node_id in engine.due)
            with trio.move_on_after(doubled_s(_PAUSE_S, rounds - 1, _PAUSE_MAX_S)):
                await self._moved.heard()

    def _compare(self, listings: dict[NodeId, Listing], bits: int, *, whole: bool) -> Due:
        share = self._dht.share
        mine, attendance = self._own(bits), share.attendance
        view = self._view(self._dht.identity.node_id, attendance.view)
        own = Listing(mine, share.since_s, attendance.left_s, view)
        return Comparison(self._engine.view, own, listings, whole).due()

    def _view(self, node_id: bytes, others: Iterable[bytes]) -> View:
        return View(node_id, others, self._dht.config.replicas)

    def _own(self, bits: int) -> dict[bytes, Holding]:
        return {holding.place: holding for page in self._own_pages(bits) for holding in page}

    def _own_pages(self, bits: int) -> Iterator[list[Holding]]:
        own_id, after = self._dht.identity.node_id, b""
        while page := self._dht.share.range(own_id, bits, after):
            yield page
            after = page[-1].place

    async def _listings(self, nodes: list[NodeId], bits: int) -> dict[NodeId, Listing]:
        """Of those that answer."""
        listings: dict[NodeId, Listing] = {}

        async def ask(node_id: NodeId) -> None:
            try:
                listings[node_id] = await self._listing(node_id, bits)
            except (Unavailable, NotAllowed) as error:
                logger.debug("a node near by did not list what it has: %s", error)

        async with trio.open_nursery() as nursery:
            for node_id in nodes:
                nursery.start_soon(ask, node_id)
        return listings

    async def _listing(self, node_id: NodeId, bits: int) -> Listing:
        holdings: dict[bytes, Holding] = {}
        after = b""
        while True:
            asking = partial(wire.ListRange, bits=bits, after=after)
            page = await self._dht.ask(self._dht.contact(node_id), asking, wire.Range)
            holdings.update((holding.place, holding) for holding in page.holdings)
            last = page.holdings[-1].place if page.holdings else after
            if not page.more or last <= after or len(holdings) > _LISTED_MAX:
                return Listing(holdings, page.since_s, page.left_s, self._view(node_id, page.view))
            after = last

    async def _take_from(self, node_id: NodeId, places: list[bytes], failed: set[NodeId]) -> None:
        wanted = set(places)
        try:
            while places:
                fetched = await fetch(self._dht, self._dht.contact(node_id), places, stale=True)
                records = [record for record in fetched.records if place_of(record) in wanted]
                await self._keep(node_id, records)
                places = places[fetched.covered :]
        except (Unavailable, NotAllowed) as error:
            logger.debug("a node near by did not give what it has: %s", error)
            failed.add(node_id)

    async def _keep(self, node_id: NodeId, records: list[Record]) -> None:
        for answer in await self._dht.share.keep_many(records, self._dht.peer(node_id)):
            self.taken += answer.accepted
            if answer.reason:
                logger.debug("a record that is due here was not taken: %s", answer.reason)

    def _forget(self, due: Due) -> None:
        for place in due.forget:
            self._drop(place)

    # What goes out

    async def give(self) -> None:
        """Before this node leaves. What cannot be given in time stays with those who have it."""
        with trio.move_on_after(GIVE_S):
            view = self._engine.view
            bits = view.reach_bits() if len(view.others) >= self._dht.config.k else 0
            if not view.others or not (mine := self._own(bits)):
                return
            listings = await self._listings(sorted(map(NodeId, view.others)), bits)
            async with trio.open_nursery() as nursery:
                for heir, places in owed(view, mine, listings).items():
                    nursery.start_soon(self._give_to, heir, places)

    async def _give_to(self, heir: NodeId, places: list[bytes]) -> None:
        share, now_s = self._dht.share, self._dht.mesh_time.now_s()
        records = [record for place in places for record in share.records.get(now_s, place)]
        try:
            for batch in cut(records):
                verdicts = await store(self._dht, self._dht.contact(heir), batch)
                self.given += sum(verdict.accepted for verdict in verdicts)
        except (Unavailable, NotAllowed) as error:
            logger.debug("an heir was not given what is here: %s", error)

    async def _drop_surplus(self) -> None:
        view, spared = self._engine.view, dict[bytes, Holding]()
        for page in self._own_pages(0):
            mine = {holding.place: holding for holding in page}
            spared.update((place, mine[place]) for place in spare(view, mine, self._keepers))
            await trio.lowlevel.checkpoint()  # a share may be large
        if not spared:
            return
        asked = sorted({NodeId(holder) for place in spared for holder in view.nearest(place)})
        listings = await self._listings(asked, _bits_in_common(self._dht.identity.node_id, spared))
        if self._engine.settled is not view:
            return  # somebody has come or gone meanwhile
        for place in surplus(view, spared, listings):
            self._drop(place)
        try:
            await self._dht.share.commit()
        except Unavailable as full:
            logger.warning("copies that nobody needs here are still on the disk: %s", full)

    def _keepers(self, place: bytes) -> int:
        """Small lasting values have further copies (`replication`)."""
        config = self._dht.config
        records = self._dht.share.records.get(self._dht.mesh_time.now_s(), place)
        has_far = any(has_further_copies(record, config.small_value_bytes) for record in records)
        return config.replicas + (config.replicas_far if has_far else 0)

    def _drop(self, place: bytes) -> None:
        records = self._dht.share.records
        for record in records.get(self._dht.mesh_time.now_s(), place):
            records.forget(record)


def _bits_in_common(own_id: bytes, places: Iterable[bytes]) -> int:
    return min(ID_BITS - distance(own_id, place).bit_length() for place in places)
