"""The search, in networks where everyone keeps Kademlia's view of the others and some do not answer."""

from __future__ import annotations

import random
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.dht.lookup import REQUESTS_MAX, Lookup
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
    given_up_too_early: float

    def true_nearest(self) -> list[Contact]:
        answering = [one for key, one in self.contacts.items() if key not in self.silent]
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
    return World(contacts, views, silent, target, chance, draw(st.sampled_from([0.0, 0.2])))


def search(world: World, seeker: NodeId) -> tuple[Lookup, list[NodeId]]:
    """Answers come in any order, some after they were given up; the seeker knows itself."""
    here = world.contacts[seeker]
    lookup = Lookup(world.target, world.views[seeker].nearest(world.target), count=COUNT, alpha=ALPHA, here=here)
    under_way: list[NodeId] = []
    late: set[NodeId] = set()
    asked: list[NodeId] = []
    while not lookup.done:
        new = [NodeId(contact.node_id) for contact in lookup.queries()]
        under_way += new
        asked += new
        assert under_way, "there is somebody to wait for until the search is done"
        assert len([one for one in under_way if one not in late]) <= ALPHA + len(late)
        node_id = world.random.choice(under_way)
        if node_id not in late and world.random.random() < 0.3:
            late.add(node_id)
            lookup.late(node_id)
        else:
            under_way.remove(node_id)
            if node_id in world.silent or world.random.random() < world.given_up_too_early:
                lookup.failed(node_id)
            if node_id not in world.silent:
                lookup.answered(node_id, world.views[node_id].nearest(world.target))
        lookup.check()
    return lookup, asked


@given(world=worlds())
def test_the_search_ends_at_the_true_nearest_that_answer(world: World) -> None:
    seeker = next(iter(world.views))
    lookup, asked = search(world, seeker)
    assert lookup.nearest() == world.true_nearest()
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
        for contact in lookup.queries():
            lookup.failed(NodeId(contact.node_id))
    assert lookup.nearest() == []
    assert lookup.requests == len(start)


def test_while_one_is_late_the_next_two_are_asked_and_its_answer_still_counts() -> None:
    start = [Contact(bytes([n]) * 20, "10.0.0.1", n) for n in range(1, 8)]
    lookup = Lookup(bytes(20), start, count=2, alpha=2)
    assert lookup.queries() == start[:2]
    lookup.late(NodeId(start[0].node_id))
    assert lookup.queries() == start[2:4]
    lookup.answered(NodeId(start[1].node_id), [])
    lookup.answered(NodeId(start[2].node_id), [])
    assert not lookup.done
    lookup.answered(NodeId(start[0].node_id), [])
    assert lookup.done
    assert lookup.nearest() == start[:2]


def test_a_liar_with_names_without_end_is_asked_about_no_more_than_so_many() -> None:
    liar = Contact(b"\xff" * 20, "10.0.0.1", 1)
    lookup = Lookup(bytes(20), [liar], count=COUNT, alpha=ALPHA)
    lookup.queries()
    lookup.answered(NodeId(liar.node_id), [Contact(n.to_bytes(20, "big"), "10.0.0.9", 9) for n in range(1, 1000)])
    while not lookup.done:
        for contact in lookup.queries():
            lookup.failed(NodeId(contact.node_id))
    assert lookup.requests == REQUESTS_MAX
