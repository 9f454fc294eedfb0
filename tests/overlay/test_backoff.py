"""Pauses double, and however often something fails they have an end."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.backoff import doubled_s

SECONDS = st.floats(1e-6, 1e6)


@given(SECONDS, st.integers(0, 30), SECONDS)
def test_a_pause_is_twice_the_one_before_or_the_longest(base_s: float, failures: int, most_s: float) -> None:
    assert doubled_s(base_s, 0, most_s) == min(base_s, most_s)
    assert doubled_s(base_s, failures + 1, most_s) == min(2 * doubled_s(base_s, failures, 1e30), most_s)


@given(SECONDS, st.integers(0, 1 << 70), SECONDS)
def test_no_number_of_failures_is_too_many(base_s: float, failures: int, most_s: float) -> None:
    assert 0 < doubled_s(base_s, failures, most_s) <= most_s
