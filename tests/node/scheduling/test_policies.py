"""Every policy keeps what all must keep, and forgets whoever is gone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.node.scheduling.catalogue import OURS, make
from potluck.node.scheduling.queues import Groups
from potluck.overlay.errors import ConfigError

from .policy_suite import Item, PolicySuite

SPECS = [*OURS, "priority:preemptive=false", "sjf:preemptive=true", "rr:time_quantum_ms=100", "mlfq:aging_ms=200"]

for _spec in SPECS:
    _suite = type(f"Suite_{_spec}", (PolicySuite,), {"spec": _spec}).TestCase  # type: ignore[attr-defined]
    _suite.settings = settings(max_examples=30, stateful_step_count=40)
    globals()[f"Test_{_spec}"] = _suite
del _suite


@pytest.mark.parametrize("spec", SPECS)
def test_nothing_is_remembered_of_those_that_are_gone(spec: str) -> None:
    policy = make(spec)
    items = [Item(key, key % 5, f"s{key % 7}", f"f{key % 11}") for key in range(1000)]
    for item in items:
        policy.add(0.0, item)
    for turn in range(3):
        for item in [policy.pick(turn) for _ in items]:
            policy.preempted(turn, item, min(0.05, policy.slice_s(item)))
    for item in items[:300]:
        assert policy.remove(item.key) is item
    while (left := policy.pick(9.0)) is not None:
        policy.ended(9.0, left, 0.1)
    tables = [table for table in vars(policy).values() if isinstance(table, dict)]
    assert sum(map(len, tables)) <= 7, "accounts of those who have had more than others stay"


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2)), max_size=40))
def test_groups_are_merged_by_rank_and_then_in_order_of_arrival(added: list[tuple[int, int]]) -> None:
    groups: Groups[Item] = Groups()
    ranks: dict[int, int] = {}
    for key, (name, rank) in enumerate(added):
        ranks[name] = rank
        groups.append(Item(key), name, rank)
    left = list(enumerate(added))
    while left:
        # A group waits where its first item stands.
        first_of = {name: min(key for key, (other, _) in left if other == name) for _, (name, _) in left}
        expected = min(left, key=lambda one: (ranks[one[1][0]], first_of[one[1][0]], one[0]))
        left.remove(expected)
        item = groups.take_first()
        assert item is not None
        assert item.key == expected[0]
    assert groups.take_first() is None


def test_a_queue_whose_groups_change_rank_all_the_time_does_not_grow() -> None:
    groups: Groups[Item] = Groups()
    for key in range(10):
        groups.append(Item(key), key, 0.0)
    for turn in range(10_000):
        groups.rerank(turn % 10, turn)
    assert len(groups._heap) < 200
    order = [groups.take_first().key for _ in range(10)]  # type: ignore[union-attr]
    assert all(before < after for before, after in pairwise(order))


@pytest.mark.parametrize(
    "spec",
    ["", "lifo", "rr:quantum=3", "rr:time_quantum_ms", "rr:time_quantum_ms=0", "rr:time_quantum_ms=x",
     "rr:time_quantum_ms=99999999999", "rr:time_quantum_ms=true",
     "mlfq:time_quanta_ms=1/2/", f"mlfq:time_quanta_ms={'/'.join('1' * 17)}"],
)  # fmt: skip
def test_what_is_no_policy_is_refused_by_name(spec: str) -> None:
    with pytest.raises(ConfigError, match="policy"):
        make(spec)


def test_settings_reach_their_policy() -> None:
    policy = make("mlfq:time_quanta_ms=10/20,aging_ms=50")
    policy.add(0.0, item := Item(1))
    assert policy.pick(0.0) is item
    assert policy.slice_s(item) == 0.01
    assert policy.lengths() == [0, 0]
