"""What a no and a yes of the owner's rules do to tasks, in every order."""

from __future__ import annotations

import math
from datetime import datetime

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.lending.hours import parse
from potluck.node.lending.idleness import Idleness
from potluck.node.lending.lending import IN_USE, PAUSED, Lending, reason_against
from potluck.overlay.ports import Look

GRACE_S = 30.0


@given(st.lists(st.tuples(st.sampled_from([0.0, 1.0, 31.0]), st.sampled_from(["", "a", "b"])), max_size=30))
def test_tasks_stand_still_from_a_no_on_and_go_back_after_the_grace(story: list[tuple[float, str]]) -> None:
    engine, now_s, since_s, gone = Lending(GRACE_S), 0.0, math.inf, False
    for passed_s, reason in story:
        now_s += passed_s
        expected = []
        if reason and since_s == math.inf:
            since_s, gone = now_s, False
            expected.append("hold")
        elif not reason and since_s < math.inf:
            since_s = math.inf
            expected.append("go on")
        if now_s >= since_s + GRACE_S and not gone:
            gone = True
            expected.append("hand back")
        assert engine.judged(now_s, reason) == expected
        assert engine.reason == reason
        assert engine.next_s == (math.inf if gone or since_s == math.inf else since_s + GRACE_S)


def test_what_lasts_longest_is_the_reason() -> None:
    night, noon = parse("22:00-07:00"), datetime(2026, 11, 2, 12)
    present = Idleness(0.0, 60.0, 0.5)
    assert reason_against(True, night, noon, present, 1.0) == PAUSED
    assert reason_against(False, night, noon, present, 1.0) == "its owner lends it 22:00-07:00"
    assert reason_against(False, None, noon, present, 1.0) == IN_USE
    present.looked(100.0, Look(90.0, 0.0))
    assert reason_against(False, night, noon.replace(hour=23), present, 100.0) == ""
    assert reason_against(False, None, None, None, 0.0) == ""
