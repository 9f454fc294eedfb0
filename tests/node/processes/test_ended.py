"""What is kept of processes that have ended: the last ones, and for a while."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.processes.ended import KEPT_MAX, KEPT_S, EndedProcesses, Past
from potluck.node.processes.process import UNKNOWN, Process, State
from potluck.node.scheduling.times import Times


def ended(number: int, at_s: float) -> Past:
    process = Process(number, Times(0.0), UNKNOWN)
    process.move(at_s, State.TERMINATED)
    return Past(process, "completed", False)


@given(st.lists(st.floats(0, KEPT_S / 3), max_size=20), st.floats(0, 2 * KEPT_S))
def test_those_that_ended_lately_are_shown_in_order(pauses_s: list[float], later_s: float) -> None:
    kept, past, now_s = EndedProcesses(), [], 0.0
    for number, pause_s in enumerate(pauses_s):
        now_s += pause_s
        past.append(ended(number, now_s))
        kept.add(past[-1])
    now_s += later_s
    wanted = [one for one in past if now_s - (one.process.times.ended_s or 0.0) <= KEPT_S]
    assert list(kept.lately(now_s)) == wanted


def test_after_a_million_there_are_a_thousand() -> None:
    kept = EndedProcesses()
    for number in range(3 * KEPT_MAX):
        kept.add(ended(number, 0.0))
    assert [past.process.number for past in kept.lately(1.0)] == list(range(2 * KEPT_MAX, 3 * KEPT_MAX))
