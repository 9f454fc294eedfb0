"""What is due at a node when membership changes, and whose silence counts, against plain sorting and plain sets."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.overlay.dht.syncing import Comparison, Listing, Syncing, View
from potluck.overlay.ids import NodeId, distance
from potluck.overlay.wire.records import Holding

REPLICAS = 3
OWN = bytes(20)
ids = st.binary(min_size=1, max_size=1).map(lambda first: NodeId(first + bytes(19))) | st.binary(
    min_size=20, max_size=20
).map(NodeId)
others = st.frozensets(ids.filter(lambda one: one != OWN), max_size=12)
places = st.binary(min_size=1, max_size=1).map(lambda first: first + bytes(19)) | st.binary(min_size=20, max_size=20)


def true_holders(nodes: frozenset[bytes] | set[bytes], place: bytes) -> list[bytes]:
    return sorted({OWN, *nodes}, key=lambda one: distance(one, place))[:REPLICAS]


@given(nodes=others, place=places)
def test_a_view_knows_the_holders_of_every_place(nodes: frozenset[bytes], place: bytes) -> None:
    view = View(OWN, nodes, REPLICAS)
    holders = true_holders(nodes, place)
    assert view.nearest(place) == holders
    assert view.is_holder(place) == (OWN in holders)
    assert view.holders == len(holders)


@given(nodes=others, place=places)
def test_every_place_that_a_node_holds_is_in_its_reach(nodes: frozenset[bytes], place: bytes) -> None:
    view = View(OWN, nodes, REPLICAS)
    if view.is_holder(place):
        assert distance(place, OWN) < 1 << (160 - view.reach_bits())


class SyncingMachine(RuleBasedStateMachine):
    """Nodes come and go; those that are due list what they have, in rounds that changes may interrupt."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = Syncing(OWN, REPLICAS)
        self.near: frozenset[bytes] = frozenset()
        self.owing: set[bytes] = set()
        """By the model: whoever came since it last listed, or all when somebody went."""
        self.settled: frozenset[bytes] | None = None
        self.asked: tuple[list[NodeId], int] | None = None
        self.lost_since_asked = False

    @rule(near=others)
    def membership_changes(self, near: frozenset[bytes]) -> None:
        if self.near - near:
            self.owing = set(near)
            self.lost_since_asked = True
        else:
            self.owing |= near - self.near
        self.near = near
        self.engine.seen(near)

    @rule()
    def ask(self) -> None:
        self.asked = (self.engine.due, self.engine.losses)
        self.lost_since_asked = False

    @precondition(lambda self: self.asked is not None)
    @rule(data=st.data())
    def some_answer(self, data: st.DataObject) -> None:
        assert self.asked is not None
        due, losses = self.asked
        answered = data.draw(st.sets(st.sampled_from(due))) if due else set()
        self.engine.taken(answered, losses)
        if not self.lost_since_asked:
            self.owing -= answered

    @rule()
    def settle(self) -> None:
        assert self.engine.settle() == (not self.owing)
        if not self.owing:
            self.settled = self.near

    @invariant()
    def those_are_due_who_owe(self) -> None:
        starts = self.settled is None and self.owing
        assert self.engine.due == sorted(self.near if starts else self.owing)

    @rule(place=places)
    def a_place_is_covered_by_an_old_holder_among_a_majority_of_old_ones(self, place: bytes) -> None:
        covers = self.engine.covers(place)
        if self.settled is None:
            assert not covers
        else:
            old = [one for one in true_holders(self.near, place) if one in self.settled or one == OWN]
            most = self.near == self.settled or 2 * len(old) > len(true_holders(self.near, place))
            assert covers == (OWN in true_holders(self.settled, place) and most)


TestSyncing = SyncingMachine.TestCase


def holding(place: bytes, version: int, *, stale: bool = False, several: bool = False, mark: int = 0) -> Holding:
    return Holding(place, version, bytes([version, mark]) + bytes(6), False, several, stale)


PLACES = [bytes([n]) * 20 for n in (0, 0x40, 0x80, 0xC0)]
NEAR = [NodeId(bytes([n]) + bytes(19)) for n in (0x20, 0x60, 0xA0, 0xE0)]
versions = st.dictionaries(st.sampled_from(PLACES), st.integers(1, 3))


def listing(held: dict[bytes, int]) -> Listing:
    return Listing({place: holding(place, version) for place, version in held.items()})


@given(mine=versions, theirs=st.lists(versions, min_size=4, max_size=4))
def test_of_every_place_held_here_the_newest_is_fetched_once_and_nothing_else(
    mine: dict[bytes, int], theirs: list[dict[bytes, int]]
) -> None:
    view = View(OWN, NEAR, REPLICAS)
    listings = dict(zip(NEAR, map(listing, theirs), strict=True))
    due = Comparison(view, listing(mine), listings, whole=True).due()
    fetched = [place for those in due.fetch.values() for place in those]
    assert len(fetched) == len(set(fetched)) == due.places
    for place in PLACES:
        best = max((held.get(place, 0) for held in theirs), default=0)
        wanted = view.is_holder(place) and best > mine.get(place, 0)
        assert (place in fetched) == wanted
    for node_id, those in due.fetch.items():
        for place in those:
            assert listings[node_id].holdings[place].version == max(held.get(place, 0) for held in theirs)
    assert due.forget == []


@given(marks=st.lists(st.none() | st.integers(1, 3), min_size=4, max_size=4), mine=st.none() | st.integers(1, 3))
def test_of_a_holder_set_every_version_that_is_not_here_is_fetched(marks: list[int | None], mine: int | None) -> None:
    place = PLACES[0]

    def having(mark: int | None) -> Listing:
        return Listing({} if mark is None else {place: holding(place, 1, several=True, mark=mark)})

    view = View(OWN, NEAR, len(NEAR) + 1)
    due = Comparison(view, having(mine), dict(zip(NEAR, map(having, marks), strict=True)), whole=True).due()
    assert due.places == len({mark for mark in marks if mark not in (None, mine)})


times = st.sampled_from([0.0, 1.0, 2.0, math.inf])
leavings = st.sampled_from([-math.inf, 0.5, 1.5])
listings = st.tuples(st.sampled_from(["nothing", "stale", "fresh"]), times, leavings, st.booleans())


@given(
    offers=st.lists(listings, min_size=4, max_size=4),
    mine=st.sampled_from(["nothing", "stale"]),
    knows=times,
    left_s=leavings,
    whole=st.booleans(),
)
def test_what_is_stale_is_taken_and_kept_unless_most_who_held_it_all_the_time_lack_it(
    offers: list[tuple[str, float, float, bool]], mine: str, knows: float, left_s: float, whole: bool
) -> None:
    place = PLACES[0]

    def having(what: str, since_s: float, left_s: float, was_holder: bool) -> Listing:
        held = {} if what == "nothing" else {place: holding(place, 1, stale=what == "stale")}
        crowd = [] if was_holder else [place[:19] + bytes([n]) for n in range(1, REPLICAS + 1)]
        return Listing(held, since_s, left_s, View(NEAR[0], crowd, REPLICAS))

    view = View(OWN, NEAR, REPLICAS)
    holders = view.nearest(place)
    told = {node_id: having(*offer) for node_id, offer in zip(NEAR, offers, strict=True)}
    own = having(mine, knows, left_s, True)

    def deleted_since(left_s: float, keeper: bytes) -> bool:
        votes = [
            what == "nothing" and was and since_s <= left_s
            for node_id, (what, since_s, _, was) in zip(NEAR, offers, strict=True)
            if node_id in holders and node_id != keeper
        ]
        own_vote = mine == "nothing" and knows <= left_s
        if keeper != OWN:
            votes.append(own_vote)
        return own_vote or 2 * sum(votes) > len(votes)

    due = Comparison(view, own, told, whole).due()
    fresh = any(what == "fresh" for what, *_ in offers)
    forgets = whole and mine == "stale" and not fresh and deleted_since(left_s, OWN)
    assert due.forget == ([place] if forgets else [])
    usable = any(
        what == "stale" and not deleted_since(left_s, node_id)
        for node_id, (what, _, left_s, _) in zip(NEAR, offers, strict=True)
    )
    assert due.places == (mine == "nothing" and (fresh or (whole and usable)))


def test_one_liar_makes_nobody_forget_what_is_old() -> None:
    """The whole mesh was away for long; one says that it was there all the time, and that there is nothing."""
    place = PLACES[0]
    away = Listing({place: holding(place, 1, stale=True)}, math.inf, 0.0, View(OWN, NEAR, REPLICAS))
    liar = Listing({}, -math.inf, math.inf, View(NEAR[0], [], REPLICAS))
    view = View(OWN, NEAR, REPLICAS)
    due = Comparison(view, away, {NEAR[0]: liar, **dict.fromkeys(NEAR[1:], away)}, True).due()
    assert due.forget == []
