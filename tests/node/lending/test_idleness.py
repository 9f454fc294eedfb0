"""Whether the owner is there, against a naive reading of all looks so far."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.lending.idleness import Idleness
from potluck.overlay.ports import Look

QUIET_S, CPUS = 60.0, 0.5
looks = st.lists(
    st.tuples(st.sampled_from([1.0, 20.0, 61.0]), st.floats(0, 200), st.sampled_from([0.0, 0.5, 0.6, 9.0])), max_size=30
)


@given(looks)
def test_the_owner_is_away_once_nothing_was_touched_and_nobody_was_busy_for_long_enough(
    story: list[tuple[float, float, float]],
) -> None:
    now_s, seen_s, busy = 100.0, 100.0, 0
    engine = Idleness(now_s, QUIET_S, CPUS)
    for passed_s, untouched_s, busy_cpus in story:
        now_s += passed_s
        engine.looked(now_s, Look(untouched_s, busy_cpus))
        busy = busy + 1 if busy_cpus > CPUS else 0
        seen_s = max(seen_s, now_s - untouched_s, now_s if busy > 1 else 0)
        assert engine.is_away(now_s) == (now_s - seen_s >= QUIET_S)
