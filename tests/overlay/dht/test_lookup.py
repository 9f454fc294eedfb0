"""The search, in networks where everyone keeps Kademlia's view of the others and some do not answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.dht.lookup import Lookup, Query
from potluck.overlay.dht.routing import Routing
from potluck.overlay.ids import NodeId, distance
from potluck.overlay.ports import Address
from potluck.overlay.wire.records import Contact

K, COUNT, ALPHA = 12, 5, 3


@dataclass
class World:
    contacts: dict[NodeId, Contact]
    views: dict[NodeId, Routing]
    silent: set[NodeId]
    target: bytes
    random: random.Random

    def true_nearest(self, without: NodeId) -> list[Contact]:
        answering = [one for key, one in self.contacts.items() if key not in self.silent and key != without]
        return sorted(answering, key=lambda contact: distance(contact.node_id, self.target))[:COUNT]


@st.composite
def worlds(draw: st.DrawFn) -> World:
    """At most K - COUNT are silent, so that every view of a crowded part still holds COUNT that answer."""
    chance = random.Random(draw(st.integers(0, 1 << 32)))
    ids = [NodeId(chance.randbytes(20)) for _ in range(draw(st.integers(2, 50)))]
    contacts = {node_id: Contact(node_id, "10.0.0.1", 1 + n) for n, node_id in enumerate(ids)}
    views = {}
    for node_id in ids:
        views[node_id] = Routing(node_id, K)
        for other in chance.sample(ids, len(ids)):
            views[node_id].add(other, Address("10.0.0.1", contacts[other].port))
    silent = set(chance.sample(ids[1:], min(draw(st.integers(0, K - COUNT)), len(ids) - 1)))
    target = draw(st.sampled_from([chance.randbytes(20), ids[0], ids[-1]]))
    return World(contacts, views, silent, target, chance)


def search(world: World, seeker: NodeId) -> tuple[Lookup, list[NodeId]]:
    """Answers come in any order; the seeker leaves itself out, as the shell does."""
    lookup = Lookup(world.target, world.views[seeker].nearest(world.target), count=COUNT, alpha=ALPHA)
    under_way: list[Query] = []
    asked: list[NodeId] = []
    while not lookup.done:
        new = lookup.queries()
        under_way += new
        asked += [NodeId(query.contact.node_id) for query in new]
        assert 0 < len(under_way) <= ALPHA
        query = under_way.pop(world.random.randrange(len(under_way)))
        node_id = NodeId(query.contact.node_id)
        if node_id in world.silent:
            lookup.failed(node_id)
        else:
            answer = world.views[node_id].nearest(world.target)
            lookup.answered(node_id, [one for one in answer if one.node_id != seeker])
    return lookup, asked


@given(world=worlds())
def test_the_search_ends_at_the_true_nearest_that_answer(world: World) -> None:
    seeker = next(iter(world.views))
    lookup, asked = search(world, seeker)
    assert lookup.nearest() == world.true_nearest(without=seeker)
    assert len(asked) == len(set(asked)) == lookup.requests
    assert seeker not in asked
    assert lookup.rounds <= lookup.requests


@given(world=worlds(), fakes=st.integers(1, 40))
def test_contacts_that_do_not_exist_delay_a_search_and_do_not_mislead_it(world: World, fakes: int) -> None:
    """One liar names many neighbours of the target that nobody has ever met."""
    seeker, *others = world.views
    liar = others[0]
    world.silent.discard(liar)
    invented = [NodeId(world.target[:18] + n.to_bytes(2, "big")) for n in range(fakes)]
    invented = [node_id for node_id in invented if node_id not in world.contacts]
    world.silent.update(invented)
    for node_id in invented:
        world.views[liar].add(node_id, Address("10.0.0.9", 9))
    lookup, asked = search(world, seeker)
    assert not set(invented) & {NodeId(contact.node_id) for contact in lookup.nearest()}
    assert len(asked) <= len(world.contacts) + fakes


def test_alone_there_is_nobody_to_ask() -> None:
    lookup = Lookup(bytes(20), [], count=COUNT, alpha=ALPHA)
    assert lookup.done
    assert lookup.queries() == []
    assert lookup.nearest() == []
    assert lookup.rounds == 0


def test_when_nobody_answers_the_search_ends_with_nothing() -> None:
    start = [Contact(bytes([n]) * 20, "10.0.0.1", n) for n in range(1, 8)]
    lookup = Lookup(bytes(20), start, count=COUNT, alpha=ALPHA)
    while not lookup.done:
        for query in lookup.queries():
            lookup.failed(NodeId(query.contact.node_id))
    assert lookup.nearest() == []
    assert lookup.requests == len(start)
