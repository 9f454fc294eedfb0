"""Whom a node keeps a link to."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.config import Links
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.members import LIFE, Member, Members
from potluck.overlay.membership.neighbours import Neighbours, choose
from potluck.overlay.ports import Address
from potluck.overlay.wire.gossip import Status

from .stories import OWN


@given(count=st.integers(0, 80), seed=st.integers(0, 1000))
def test_neighbours_are_everyone_or_the_nearest_and_some_more(count: int, seed: int) -> None:
    chance = random.Random(seed)
    others = {NodeId(chance.randbytes(20)) for _ in range(count)}
    config = Links()
    chosen = choose(OWN, others, config)
    assert chosen <= others
    if count < config.neighbours_full:
        assert chosen == others
        return
    nearest = sorted(others, key=lambda one: int.from_bytes(one, "big"))[: config.neighbours_near]
    assert set(nearest) <= chosen
    assert len(chosen) == min(len(others), config.neighbours_near + config.neighbours_random)
    assert chosen == choose(OWN, sorted(others, reverse=True), config)


@given(count=st.integers(4, 60), seed=st.integers(0, 1000), linked=st.floats(0, 1))
def test_links_that_nobody_needs_are_kept_up_to_a_number_and_the_longest_unused_go(
    count: int, seed: int, linked: float
) -> None:
    chance = random.Random(seed)
    config = Links(neighbours_full=8, neighbours_near=4, neighbours_random=2, cached_max=5)
    members = Members()
    for number in range(count):
        node_id = NodeId(chance.randbytes(20))
        members.add(Member(node_id, f"n{number}", Address("10.0.0.1", 9000), bytes(16), LIFE, Status.ALIVE, 0.0))
    neighbours = Neighbours(OWN, config, members)
    used_s = {node_id: chance.uniform(0, 10) for node_id in members.by_id if chance.random() < linked}
    gone = neighbours.superfluous(10.0 + config.cached_s / 2, used_s)
    needed = neighbours.wanted() | {node_id for node_id in used_s if OWN in neighbours.of(node_id)}
    just_now = {node_id for node_id, at_s in used_s.items() if at_s > 10.0 - config.cached_s / 2}
    assert not set(gone) & (needed | just_now)
    kept = used_s.keys() - needed - just_now - set(gone)
    assert len(used_s.keys() - neighbours.wanted()) - len(gone) <= config.cached_max or not kept
    assert all(used_s[left] >= used_s[gone[-1]] for left in kept) if gone else True
