"""What goes out of a share, against plain sets: nodes come, leave, die and tidy up in any order."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.overlay.dht.parting import owed, spare, surplus
from potluck.overlay.dht.syncing import Comparison, Listing, View
from potluck.overlay.ids import NodeId, distance
from potluck.overlay.wire.records import Holding

REPLICAS, FAR = 3, 2
NODES = [NodeId(bytes([16 * n + 5]) + bytes(19)) for n in range(12)]
PLACES = [bytes([23 * n % 256]) * 20 for n in range(9)]
SMALL = set(PLACES[::2])
"""Of which the next nodes keep further copies."""


def keepers(place: bytes) -> int:
    return REPLICAS + FAR * (place in SMALL)


def holding(place: bytes, version: int) -> Holding:
    return Holding(place, version, version.to_bytes(8, "big"))


class PartingMachine(RuleBasedStateMachine):
    """`shares`: of every node that runs, place to version. A write is acknowledged by most of its holders; nobody dies
    while one node alone has something, because that is what no protocol survives."""

    def __init__(self) -> None:
        super().__init__()
        self.shares: dict[NodeId, dict[bytes, int]] = {NODES[0]: {}}
        self.written: dict[bytes, int] = {}

    def nearest(self, place: bytes, count: int) -> list[NodeId]:
        return sorted(self.shares, key=lambda one: distance(one, place))[:count]

    def view(self, node: NodeId) -> View:
        return View(node, [one for one in self.shares if one != node], REPLICAS)

    def listing(self, node: NodeId) -> Listing:
        return Listing({place: holding(place, version) for place, version in self.shares[node].items()})

    def listings(self, of: NodeId, silent: set[NodeId]) -> dict[NodeId, Listing]:
        return {one: self.listing(one) for one in self.shares if one != of and one not in silent}

    def having(self, place: bytes) -> int:
        return sum(share.get(place) == self.written[place] for share in self.shares.values())

    @rule(place=st.sampled_from(PLACES), data=st.data())
    def write(self, place: bytes, data: st.DataObject) -> None:
        holders = self.nearest(place, REPLICAS)
        acknowledging = data.draw(st.permutations(holders))[: data.draw(st.integers(len(holders) // 2 + 1, REPLICAS))]
        self.written[place] = self.written.get(place, 0) + 1
        far = self.nearest(place, keepers(place))[REPLICAS:] if data.draw(st.booleans()) else []
        for node in [*acknowledging, *far]:
            self.shares[node][place] = self.written[place]

    @rule(node=st.sampled_from(NODES))
    def come(self, node: NodeId) -> None:
        self.shares.setdefault(node, {})

    @rule(data=st.data())
    def take_what_is_due(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.shares)))
        due = Comparison(self.view(node), self.listing(node), self.listings(node, set()), True).due()
        for source, places in due.fetch.items():
            for place in places:
                self.shares[node][place] = max(self.shares[source][place], self.shares[node].get(place, 0))

    @precondition(lambda self: len(self.shares) > 1)
    @rule(data=st.data(), some_silent=st.booleans())
    def leave(self, data: st.DataObject, some_silent: bool) -> None:
        node = data.draw(st.sampled_from(sorted(self.shares)))
        others = sorted(one for one in self.shares if one != node)
        silent = set(data.draw(st.lists(st.sampled_from(others), max_size=len(others) - 1))) if some_silent else set()
        given = owed(self.view(node), self.listing(node).holdings, self.listings(node, silent))
        share = self.shares.pop(node)
        for heir, places in given.items():
            assert heir not in silent
            for place in places:
                assert share[place] >= self.shares[heir].get(place, 0)
                self.shares[heir][place] = share[place]
        for place in share if not silent else ():
            heirs = self.nearest(place, REPLICAS)
            assert 2 * sum(self.shares[one].get(place, 0) >= share[place] for one in heirs) > len(heirs)

    @precondition(lambda self: len(self.shares) > 1 and all(self.having(place) > 1 for place in self.written))
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        del self.shares[data.draw(st.sampled_from(sorted(self.shares)))]

    @rule(data=st.data())
    def tidy_up(self, data: st.DataObject) -> None:
        node = data.draw(st.sampled_from(sorted(self.shares)))
        view, mine = self.view(node), self.listing(node).holdings
        spared = {place: mine[place] for place in spare(view, mine, keepers)}
        assert set(spared) == {place for place in mine if node not in self.nearest(place, keepers(place))}
        for place in surplus(view, spared, self.listings(node, set())):
            version = self.shares[node].pop(place)
            assert all(self.shares[one][place] >= version for one in self.nearest(place, REPLICAS))

    @invariant()
    def nothing_written_is_gone(self) -> None:
        assert all(self.having(place) for place in self.written)


TestParting = PartingMachine.TestCase
TestParting.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


def test_a_set_is_given_and_kept_unless_others_have_the_very_same() -> None:
    me, other = NODES[0], NODES[1]
    view = View(me, [other], 1)
    mine = Holding(PLACES[0], 5, bytes(8), several=True)
    theirs = Holding(PLACES[0], 9, b"\1" * 8, several=True)
    assert owed(view, {PLACES[0]: mine}, {other: Listing({PLACES[0]: theirs})}) == {other: [PLACES[0]]}
    assert owed(view, {PLACES[0]: mine}, {other: Listing({PLACES[0]: mine})}) == {}
    assert surplus(view, {PLACES[0]: mine}, {other: Listing({PLACES[0]: theirs})}) == []


def test_what_may_have_been_deleted_behind_its_back_is_neither_given_nor_dropped() -> None:
    me, other = NODES[0], NODES[1]
    mine = Holding(PLACES[0], 5, bytes(8), stale=True)
    view = View(me, [other], 1)
    assert owed(view, {PLACES[0]: mine}, {other: Listing({})}) == {}
    assert spare(view, {PLACES[0]: mine}, lambda place: 0) == []
