"""A wrong clock is told once, and again when it changes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.timekeeping import RIGHT_S, WRONG_S, Teller, error_text


@given(errors=st.lists(st.sampled_from([0.0, 4.9, 5.1, 9.9, 10.1, -10.1, 3600.0, -3600.0]) | st.floats(-1e4, 1e4)))
def test_what_was_told_last_is_never_far_from_the_truth_and_nothing_is_told_twice(errors: list[float]) -> None:
    teller, told_s = Teller(), 0.0
    for error_s in errors:
        news_s = teller.look(error_s)
        if news_s is not None:
            assert news_s != told_s
            assert news_s == 0.0 or abs(news_s) > RIGHT_S
            told_s = news_s
        assert abs(error_s - told_s) <= WRONG_S
        assert abs(error_s) >= RIGHT_S or told_s == 0.0
        assert teller.look(error_s) is None


@given(wobble=st.lists(st.floats(-4.0, 4.0), min_size=1), error_s=st.sampled_from([12.0, -12.0, 3600.0]))
def test_a_clock_that_stays_wrong_is_told_once(wobble: list[float], error_s: float) -> None:
    teller = Teller()
    said = [teller.look(error_s), *(teller.look(error_s + one_s) for one_s in wobble)]
    assert [news_s for news_s in said if news_s is not None] == [error_s]


def test_what_a_person_reads() -> None:
    assert "3600 s ahead of the others" in error_text(3600.2)
    assert "60 s behind the others" in error_text(-60.0)
    assert "agrees" in error_text(0.0)
