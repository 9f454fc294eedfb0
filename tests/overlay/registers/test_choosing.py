"""Who shall be a register's acceptors: whatever has become of the present ones, the choice is no worse than they."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.registers.choosing import ACCEPTORS, ACCEPTORS_MIN, Standing, choose, spare

HERE, AWAY, GONE = Standing.HERE, Standing.AWAY, Standing.GONE

registers = st.lists(st.sampled_from(Standing), min_size=1, max_size=ACCEPTORS)


def named(standings: list[Standing]) -> dict[bytes, Standing]:
    return {bytes([place]): standing for place, standing in enumerate(standings)}


def chosen(standings: list[Standing], others: int = 0) -> list[bytes]:
    known = named(standings)
    return choose(list(known), known.__getitem__, [b"other %d" % number for number in range(others)])


def may_die(standings: list[Standing]) -> int:
    known = named(standings)
    return spare(list(known), known.__getitem__)


@pytest.mark.parametrize(
    "standings,others,count",
    [
        ([HERE, HERE, HERE, GONE], 0, 3),
        ([HERE, HERE, HERE, GONE, GONE], 0, 3),
        ([HERE, HERE, HERE, HERE, GONE], 0, 5),
        ([HERE, HERE, GONE], 0, 3),
        ([HERE, GONE, GONE], 0, 3),
        ([HERE, GONE], 0, 2),
        ([HERE, HERE, HERE, AWAY], 0, 4),
        ([HERE, HERE, HERE, AWAY, GONE], 0, 5),
        ([HERE, HERE, AWAY, GONE, GONE], 0, 3),
        ([HERE, HERE, HERE, AWAY, AWAY], 0, 5),
        ([HERE, HERE, HERE, AWAY, AWAY], 9, 5),
        ([HERE], 1, 2),
        ([HERE], 9, 5),
        ([HERE, HERE, GONE], 1, 3),
    ],
)
def test_examples(standings: list[Standing], others: int, count: int) -> None:
    assert len(chosen(standings, others)) == count


@pytest.mark.parametrize(
    "here,away,count", [(3, 2, 0), (4, 1, 1), (5, 0, 2), (3, 0, 1), (3, 1, 0), (2, 2, -1), (1, 0, 0)]
)
def test_how_many_more_may_go(here: int, away: int, count: int) -> None:
    assert may_die([HERE] * here + [AWAY] * away) == count


@given(registers, st.integers(0, 9))
def test_whoever_is_here_stays_and_others_fill_up(standings: list[Standing], others: int) -> None:
    known, choice = named(standings), chosen(standings, others)
    here = [one for one in known if known[one] is HERE]
    assert set(here) <= set(choice)
    assert len(choice) == len(set(choice))
    assert sum(one not in known for one in choice) == min(others, ACCEPTORS - len(here))


@given(registers)
def test_who_is_away_loses_no_place_but_to_one_who_is_here(standings: list[Standing]) -> None:
    known = named(standings)
    assert {one for one in known if known[one] is AWAY} <= set(chosen(standings))


@given(registers, st.integers(0, 9))
def test_fewer_than_three_are_never_left(standings: list[Standing], others: int) -> None:
    assert len(chosen(standings, others)) >= min(ACCEPTORS_MIN, len(standings))


@given(registers)
def test_no_fewer_may_die_than_before_and_of_three_who_are_left_one(standings: list[Standing]) -> None:
    known = named(standings)
    after = may_die([known[one] for one in chosen(standings)])
    assert after >= may_die(standings)
    if AWAY not in standings and standings.count(HERE) >= ACCEPTORS_MIN:
        assert after >= 1


@given(registers, st.integers(0, 9))
def test_chosen_again_nothing_changes(standings: list[Standing], others: int) -> None:
    choice = chosen(standings, others)
    known = named(standings) | {one: HERE for one in choice if one.startswith(b"other")}
    rest = [b"other %d" % number for number in range(others) if b"other %d" % number not in choice]
    assert set(choose(choice, known.__getitem__, rest)) == set(choice)
