"""Whom a node keeps a link to."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.config import Links
from potluck.overlay.ids import NodeId
from potluck.overlay.membership.neighbours import choose

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
