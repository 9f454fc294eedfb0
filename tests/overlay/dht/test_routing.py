"""The routing table against plain sorting."""

from __future__ import annotations

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.overlay.dht.routing import Routing
from potluck.overlay.ids import ID_BYTES, NodeId, distance
from potluck.overlay.ports import Address
from potluck.overlay.wire.records import Contact

K = 3
OWN = NodeId(bytes.fromhex("5a" * ID_BYTES))
_BITS = 8 * ID_BYTES


def _at(number: int) -> NodeId:
    return NodeId((number % (1 << _BITS)).to_bytes(ID_BYTES, "big"))


anywhere = st.integers(0, (1 << _BITS) - 1).map(_at)
near_own = st.integers(0, _BITS - 1).map(lambda bit: _at(int.from_bytes(OWN, "big") ^ (1 << bit)))
bounds = st.builds(
    lambda part, bits, offset: _at((part << (_BITS - bits)) + offset),
    st.integers(0, 32),
    st.integers(1, 5),
    st.integers(-2, 2),
)
ids = st.one_of(anywhere, near_own, bounds)


class RoutingMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.routing = Routing(OWN, K)
        self.added: dict[NodeId, Contact] = {}

    def everyone(self) -> list[Contact]:
        return self.routing.nearest(OWN, count=10_000)

    @rule(node_id=ids, port=st.integers(1, 65_535))
    def add(self, node_id: NodeId, port: int) -> None:
        before = {contact.node_id for contact in self.everyone()}
        self.routing.add(node_id, Address("10.0.0.1", port))
        if node_id == OWN:
            return
        self.added[node_id] = Contact(node_id, "10.0.0.1", port)
        assert before <= {contact.node_id for contact in self.everyone()}, "nobody is pushed out by a newcomer"
        if node_id in before:
            assert self.routing.nearest(node_id, count=1) == [self.added[node_id]], "the latest address stands"

    @rule(data=st.data())
    def add_again(self, data: st.DataObject) -> None:
        if self.added:
            self.add(data.draw(st.sampled_from(sorted(self.added))), data.draw(st.integers(1, 65_535)))

    @rule(node_id=ids)
    def remove_anyone(self, node_id: NodeId) -> None:
        self.routing.remove(node_id)
        self.added.pop(node_id, None)

    @rule(data=st.data())
    def remove_known(self, data: st.DataObject) -> None:
        if self.added:
            self.remove_anyone(data.draw(st.sampled_from(sorted(self.added))))

    @rule(place=ids, count=st.integers(0, 12) | st.none())
    def nearest(self, place: NodeId, count: int | None) -> None:
        expected = sorted(self.everyone(), key=lambda contact: distance(contact.node_id, place))
        assert self.routing.nearest(place, count) == expected[: K if count is None else count]

    @rule()
    def far_places(self) -> None:
        """One in every part of the id space that is farther away than the nearest K."""
        places = self.routing.far_places()
        near = self.routing.nearest(OWN)
        reach = distance(near[-1].node_id, OWN).bit_length() if near else 0
        assert sorted(distance(place, OWN).bit_length() for place in places) == list(range(reach + 1, _BITS + 1))

    @invariant()
    def nothing_is_made_up_or_lost(self) -> None:
        self.routing.check()
        everyone = self.everyone()
        assert len(everyone) == len(self.routing) == len({contact.node_id for contact in everyone})
        assert all(self.added[NodeId(contact.node_id)] == contact for contact in everyone)
        assert len(everyone) >= min(len(self.added), K)


TestRouting = RoutingMachine.TestCase
TestRouting.settings = settings(stateful_step_count=80)


def test_a_bucket_finds_the_ids_at_its_own_bounds() -> None:
    routing = Routing(OWN, 1)
    numbers = [0, (1 << _BITS - 1) - 1, 1 << _BITS - 1, (1 << _BITS) - 1, *((1 << bit) - 1 for bit in range(1, 160, 7))]
    for number in numbers:
        routing.add(_at(number), Address("10.0.0.1", 1))
        routing.check()
    for contact in routing.nearest(OWN, 1000):
        routing.remove(NodeId(contact.node_id))
        assert contact not in routing.nearest(OWN, 1000)
