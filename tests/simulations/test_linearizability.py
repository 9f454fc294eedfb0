"""The checker itself, on histories whose verdict is known."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.simulations.linearizability import Operation, fault


def read(called: float, returned: float, answer: int | None) -> Operation:
    return Operation("read", called, returned, answer)


def add(called: float, returned: float, answer: int, amount: int = 1) -> Operation:
    return Operation("add", called, returned, answer, amount=amount)


def cas(called: float, returned: float, expected: int | None, new: int, answer: bool) -> Operation:
    return Operation("compare_and_set", called, returned, answer, expected=expected, new=new)


def lost_add(called: float) -> Operation:
    return Operation("add", called, amount=1)


def lost_cas(called: float, expected: int | None, new: int) -> Operation:
    return Operation("compare_and_set", called, expected=expected, new=new)


GOOD = {
    "nothing": [],
    "one after another": [add(0, 1, 1), add(2, 3, 2), read(4, 5, 2)],
    "reads during a write see either": [cas(0, 10, None, 5, True), read(1, 2, None), read(3, 4, 5)],
    "of two at once one wins": [cas(0, 5, None, 1, True), cas(0, 5, None, 2, False), read(6, 7, 1)],
    "a lost one took effect late": [lost_add(0), read(1, 2, None), read(3, 4, 1)],
    "a lost one never took effect": [lost_add(0), read(1, 2, None), add(3, 4, 1)],
    "lost ones in any number": [lost_add(0), lost_add(0), lost_add(0), add(1, 2, 3)],
    "a lost set explains a set": [lost_cas(0, None, 7), cas(1, 2, 7, 8, True)],
}
BAD = {
    "a stale read": [add(0, 1, 1), read(2, 3, None)],
    "a value nobody wrote": [add(0, 1, 1), read(2, 3, 9)],
    "both of two won": [cas(0, 5, None, 1, True), cas(0, 5, None, 2, True)],
    "a lost update": [add(0, 1, 1), add(2, 3, 1)],
    "reads go back in time": [cas(0, 10, None, 5, True), read(1, 2, 5), read(3, 4, None)],
    "an effect before its call": [read(0, 1, 1), add(2, 3, 1)],
    "a lost one took effect twice": [lost_add(0), add(1, 2, 3)],
    "a failure without a reason": [cas(0, 1, None, 1, False)],
    "an effect that vanished": [lost_cas(0, None, 7), read(1, 2, 7), read(3, 4, None)],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_could_have_happened_is_explained(name: str) -> None:
    assert fault(GOOD[name]) is None


@pytest.mark.parametrize("name", BAD)
def test_what_could_not_have_happened_is_found(name: str) -> None:
    assert fault(BAD[name]) is not None


def test_many_that_change_nothing_are_looked_at_once() -> None:
    idle = [cas(0, 10, 9, number, False) for number in range(30)] + [read(0, 10, number) for number in (1, 2, 3)]
    changing = [add(1, 9, number) for number in (3, 1, 2)]
    assert fault([*idle, *changing, lost_add(0), lost_cas(0, 9, 1)]) is None
    assert fault([*idle, *changing, read(0, 10, 5)]) is not None


CALLS = st.lists(
    st.tuples(
        st.sampled_from(["read", "add", "compare_and_set"]),
        st.integers(0, 6),
        st.integers(1, 4),
        st.one_of(st.none(), st.integers(0, 3)),
        st.booleans(),
    ),
    max_size=5,
)


def possible_by_brute_force(history: list[Operation]) -> bool:
    """Every order of every choice of the lost ones."""
    kept = [one for one in history if one.returned]
    lost = [one for one in history if not one.returned]
    for count in range(len(lost) + 1):
        for chosen in itertools.combinations(lost, count):
            if any(_fits(order) for order in itertools.permutations([*kept, *chosen])):
                return True
    return False


def _fits(order: tuple[Operation, ...]) -> bool:
    value: int | None = None
    for place, one in enumerate(order):
        if any(later.returned_at < one.called_at for later in order[place + 1 :]):
            return False
        value, answer = one.apply(value)
        if one.returned and answer != one.answer:
            return False
    return True


@given(CALLS, st.lists(st.integers(0, 3), min_size=5, max_size=5))
def test_the_verdict_is_that_of_trying_every_order(calls: list, answers: list[int]) -> None:
    history = []
    for (kind, called, length, expected, returns), answer in zip(calls, answers, strict=False):
        answered: object = bool(answer % 2) if kind == "compare_and_set" else (answer or None)
        end = called + length + 0.5 if returns else float("inf")
        history.append(Operation(kind, called, end, answered, amount=1, expected=expected, new=answer))
    assert (fault(history) is None) == possible_by_brute_force(history)
