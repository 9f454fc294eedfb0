"""Engine of a node's share when membership changes: what is due here, who has it, and whether all of it is here.

                       everyone near has listed what is in reach, and what is due has been taken
    boot ──▶ SYNCING ─────────────────────────────────────────────────────────────────▶ SETTLED in a view
                ▲                                                                          │
                └──── somebody near came (ask that one) or went (ask everyone again) ◀─────┘

A node *covers* a place when it belonged to the place's holders in the view it last settled in: then it has had every
record that its co-holders knew of, and its silence means that there is none. In a new view it goes on covering what it
covered in the old one, as long as most of the place's holders are old ones; of the rest it says `syncing` and counts in
no majority.

Records move because whoever is due to have them asks for them, once each: nothing is pushed, so that a change of
membership moves no more than it makes due, whoever else has noticed it.

A tombstone lives 30 days. A record older than that, at a node that was away that long or does not cover its place, is
*stale*: it may have been deleted behind the node's back. It is taken, or kept, unless most of its holders show that it
was deleted: they held its place, were there throughout since that node left, and lack it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ..ids import ID_BYTES, NodeId
from ..wire.records import Holding

ID_BITS: Final = 8 * ID_BYTES


def _number(node_id: bytes) -> int:
    return int.from_bytes(node_id, "big")


class View:
    """This node and those nearest to it."""

    def __init__(self, own_id: bytes, others: Iterable[bytes], replicas: int) -> None:
        self.others = frozenset(others)
        self._own = _number(own_id)
        self._numbers = [_number(one) for one in self.others]
        self.own_id = own_id
        self._replicas = replicas

    @property
    def holders(self) -> int:
        """How many nodes hold a record."""
        return min(self._replicas, len(self.others) + 1)

    def rank(self, place: bytes) -> int:
        """How many are nearer to a place than this node; in a large mesh, at least so many."""
        at = _number(place)
        own = self._own ^ at
        return sum(number ^ at < own for number in self._numbers)

    def is_holder(self, place: bytes) -> bool:
        """Whether this node is one of the nearest to a place."""
        return self.rank(place) < self._replicas

    def is_moved_by(self, node_id: bytes, size: int) -> bool:
        """Whether it makes a difference to the `size` nearest that this node comes or goes."""
        if node_id in self.others or len(self.others) < size:
            return True
        return _number(node_id) ^ self._own < max(number ^ self._own for number in self._numbers)

    def nearest(self, place: bytes) -> list[bytes]:
        """Its holders."""
        at = _number(place)
        return sorted((self.own_id, *self.others), key=lambda one: _number(one) ^ at)[: self._replicas]

    def heirs(self, place: bytes, among: Iterable[NodeId]) -> list[NodeId]:
        """Who of these holds it when this node is gone."""
        at = _number(place)
        return sorted(among, key=lambda one: _number(one) ^ at)[: self._replicas]

    def reach_bits(self) -> int:
        """How many leading bits every place that this node may hold shares with its id.

        Of a place that shares exactly `bits`, everyone on the other side of the next bit is nearer than this node.
        """
        shared = [ID_BITS - (number ^ self._own).bit_length() for number in self._numbers]
        return next((bits for bits in range(ID_BITS) if shared.count(bits) < self._replicas), ID_BITS)


class Listing(msgspec.Struct, frozen=True):
    """What one node has told of its share, or this one of its own."""

    holdings: Mapping[bytes, Holding]
    since_s: float = math.inf
    """From when on it has been there throughout; infinity for one that may have missed a deletion."""
    left_s: float = -math.inf
    """When it was last in company."""
    view: View | None = None
    """In which it last had everything that it held."""

    def shows_deletion(self, place: bytes, left_s: float) -> bool:
        """Whether what a node that left then still has here has been deleted since: this one held the place, was
        there throughout, and lacks it."""
        if place in self.holdings or self.view is None or not self.view.is_holder(place):
            return False
        return self.since_s <= left_s


_NOTHING_TOLD: Final = Listing({})


class Due(msgspec.Struct):
    """What is to be done about the listings: places to fetch, by whom to fetch them from, and what to forget."""

    fetch: dict[NodeId, list[bytes]] = {}
    forget: list[bytes] = []

    @property
    def places(self) -> int:
        return sum(map(len, self.fetch.values()))


class Syncing:
    """`seen` the nodes near by, ask those that are `due`, and say whom one has `taken` everything from."""

    def __init__(self, own_id: bytes, replicas: int) -> None:
        self._own_id = own_id
        self._replicas = replicas
        self.view = View(own_id, (), replicas)
        self.settled: View | None = None
        self.losses = 0
        """Grows when somebody near goes: listings from before say nothing of what is in reach since."""
        self._taken: set[bytes] = set()

    def seen(self, near: Iterable[bytes]) -> None:
        view = View(self._own_id, near, self._replicas)
        if view.others == self.view.others:
            return
        if self.view.others - view.others:
            self.losses += 1
            self._taken.clear()
        self._taken &= view.others
        self.view = view

    def missed(self) -> None:
        """Others have held this node for dead, and gone on without it."""
        self.losses += 1
        self._taken.clear()

    @property
    def due(self) -> list[NodeId]:
        """Who has still to be asked. A node that starts asks everyone together, because what is stale in its share
        is judged by what all of them say."""
        waiting = self.view.others - self._taken
        return sorted(NodeId(one) for one in (self.view.others if waiting and self.settled is None else waiting))

    def taken(self, nodes: Iterable[bytes], losses: int) -> None:
        """All that these listed and that is due has come; `losses` is as it was when they were asked."""
        if losses == self.losses:
            self._taken |= self.view.others & set(nodes)

    def settle(self) -> bool:
        """Whether nothing is due in this view any more; what it makes this node a holder of is here."""
        if not self.due:
            self.settled = self.view
        return not self.due

    def covers(self, place: bytes) -> bool:
        """Whether what is not here does not exist, as far as a majority of the place's holders knew."""
        if self.settled is None or not self.settled.is_holder(place):
            return False
        return self.settled is self.view or self._knew_most(self.view.nearest(place), self.settled)

    def _knew_most(self, holders: list[bytes], settled: View) -> bool:
        """Whoever settled alone, or on the small side of a partition, has nothing to say for those it meets."""
        known = sum(one in settled.others or one == self._own_id for one in holders)
        return 2 * known > len(holders)

    @property
    def holders(self) -> int:
        """How many hold a record, or did until a moment ago: a majority of these have what was acknowledged."""
        return max(self.view.holders, self.settled.holders if self.settled is not None else 0)


class Comparison(msgspec.Struct, frozen=True):
    """What others list against what is here."""

    view: View
    own: Listing
    listings: Mapping[NodeId, Listing]
    whole: bool
    """Everyone near has listed, so that what is stale can be judged."""

    def due(self) -> Due:
        result = Due()
        for place in sorted({place for listing in self.listings.values() for place in listing.holdings}):
            if self.view.is_holder(place):
                for node_id in self._sources(place):
                    result.fetch.setdefault(node_id, []).append(place)
        if self.whole:
            result.forget = [place for place, mine in self.own.holdings.items() if mine.stale and self._is_gone(place)]
        return result

    def _sources(self, place: bytes) -> list[NodeId]:
        """Whom to fetch a place from: one for each thing that is missing here."""
        offers = {node_id: one.holdings[place] for node_id, one in self.listings.items() if place in one.holdings}
        fresh = {node_id: offer for node_id, offer in offers.items() if not offer.stale}
        if not fresh and self.whole:
            fresh = {one: offer for one, offer in offers.items() if not self._is_deleted(place, one)}
        mine = self.own.holdings.get(place)
        missing: dict[bytes, NodeId] = {}
        for node_id, offer in sorted(fresh.items()):
            if mine is None or adds(offer, mine):
                missing.setdefault(offer.mark, node_id)
        wanted = [offers[node_id] for node_id in missing.values()]
        return [missing[offer.mark] for offer in wanted if not _is_outdone(offer, wanted)]

    def _is_gone(self, place: bytes) -> bool:
        """Whether a stale record has been deleted while this node was away."""
        confirmed = any(place in one.holdings and not one.holdings[place].stale for one in self.listings.values())
        return not confirmed and self._is_deleted(place, self.view.own_id)

    def _is_deleted(self, place: bytes, keeper: bytes) -> bool:
        """Whether this node knows, or most of the holders beside the one that still has it show, that it was deleted
        since that one left. A single one, which may lie, makes nobody forget."""
        left_s = self._listing(keeper).left_s
        if self.own.shows_deletion(place, left_s):
            return True
        voters = [self._listing(node_id) for node_id in self.view.nearest(place) if node_id != keeper]
        return 2 * sum(one.shows_deletion(place, left_s) for one in voters) > len(voters)

    def _listing(self, node_id: bytes) -> Listing:
        return self.own if node_id == self.view.own_id else self.listings.get(NodeId(node_id), _NOTHING_TOLD)


def adds(offer: Holding, mine: Holding) -> bool:
    """Whether there may be something in it that is not here."""
    return offer.mark != mine.mark and (offer.several or _age(offer) >= _age(mine))


def _is_outdone(offer: Holding, others: Iterable[Holding]) -> bool:
    return not offer.several and any(_age(other) > _age(offer) for other in others)


def _age(holding: Holding) -> tuple[bool, int]:
    return holding.agreed, holding.version
