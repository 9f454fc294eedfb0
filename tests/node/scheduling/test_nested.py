"""Deepest first, around any policy: against a list that is looked through."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.scheduling.catalogue import OURS, make
from potluck.node.scheduling.nested import DeepestFirst

from .policy_suite import Item


@dataclass(eq=False)
class Nested(Item):
    depth: int = 0


@given(
    st.sampled_from(sorted(OURS)),
    st.lists(st.tuples(st.integers(0, 3), st.sampled_from(["pick", "put back", "remove", "preempt", "keep"]))),
)
def test_the_deepest_comes_first_and_what_is_not_nested_as_the_policy_says(
    name: str, story: list[tuple[int, str]]
) -> None:
    policy: DeepestFirst[Nested] = DeepestFirst(make(name))
    alone = make(name)
    nested: list[Nested] = []
    for key, (depth, what) in enumerate(story):
        item = Nested(key, depth=depth)
        policy.add(float(key), item)
        if depth:
            nested.append(item)
        else:
            alone.add(float(key), item)
        if what == "keep":
            continue
        if what == "remove":
            assert policy.remove(key) is item
            _ = nested.remove(item) if depth else alone.remove(key)
            continue
        expected = min(nested, key=lambda one: -one.depth) if nested else alone.peek(float(key))
        assert policy.peek(float(key)) is expected
        picked = policy.pick(float(key))
        assert picked is expected and picked is not None
        _ = nested.remove(picked) if picked.depth else alone.pick(float(key))
        if what == "pick":
            policy.ended(float(key), picked, 0.0)
            if not picked.depth:
                alone.ended(float(key), picked, 0.0)
        elif picked.depth:
            policy.put_back(picked) if what == "put back" else policy.preempted(float(key), picked, 0.01)
            nested.insert(0, picked)
        else:
            policy.put_back(picked)
            alone.put_back(picked)
    assert len(policy) == len(nested) + len(alone) == sum(policy.lengths())
