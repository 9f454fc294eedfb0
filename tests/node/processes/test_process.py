"""The states of a process: the table, and the times that its moves are worth."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.processes.process import LEGAL, Origin, Process, State
from potluck.node.processes.types import ProcessType
from potluck.node.scheduling.times import Times
from potluck.overlay.wire.processes import TYPES


@given(st.lists(st.tuples(st.sampled_from(State), st.floats(0, 10)), max_size=40))
def test_only_legal_moves_are_made_and_every_second_is_accounted_for(moves: list[tuple[State, float]]) -> None:
    process = Process(1, Times(0.0), Origin("job", "user", "me"))
    now_s, spent_s = 0.0, dict.fromkeys(State, 0.0)
    for to, later_s in moves:
        now_s += later_s
        spent_s[process.state] += later_s
        before = process.state
        if to in LEGAL[before]:
            process.move(now_s, to)
            assert process.state is to
        else:
            with pytest.raises(AssertionError, match=f"{before.name} and cannot become {to.name}"):
                process.move(now_s, to)
            assert process.state is before
    times = process.times
    assert times.ran_by(now_s) == pytest.approx(spent_s[State.RUNNING])
    if process.state is not State.TERMINATED:
        assert times.turnaround_by(now_s) == pytest.approx(now_s)
    never_new_again = all(to is not State.NEW for to, _ in moves)
    if never_new_again:
        assert times.waited_by(now_s) == pytest.approx(spent_s[State.READY] + spent_s[State.NEW])


def test_every_process_can_be_ended_and_none_comes_back() -> None:
    assert all(State.TERMINATED in moves for state, moves in LEGAL.items() if state is not State.TERMINATED)
    assert not LEGAL[State.TERMINATED]
    assert set(LEGAL) == set(State)


def test_programs_and_nodes_know_the_same_types() -> None:
    assert tuple(one.value for one in ProcessType) == TYPES
    assert len({one.icon for one in ProcessType}) == len(TYPES)
