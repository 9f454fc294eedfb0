"""Checks that cannot fail prove nothing: each is shown a run that breaks it."""

from __future__ import annotations

from potluck.simulations.checks import FAULTS_SHOWN, Chronicle, Departure, check, delays, unnoticed
from potluck.simulations.events import Event


def test_a_check_shows_the_first_faults_and_counts_the_rest() -> None:
    assert check("x", [], "all well").held
    failed = check("x", [f"fault {n}" for n in range(FAULTS_SHOWN + 3)], "all well")
    assert not failed.held
    assert failed.detail.endswith("fault 3; and 3 more")


def _chronicle(*said: tuple[float, str, str, str]) -> Chronicle:
    return Chronicle([Event(*one) for one in said])


def test_a_death_is_to_be_noticed_by_everyone_in_time() -> None:
    death = Departure("b1", 10.0, "died", 5.0, ("a1", "c1"))
    in_time = _chronicle((11, "a1", "died", "b1"), (15, "c1", "died", "b1"))
    assert not list(unnoticed(in_time, [death]))
    assert delays(in_time, [death]) == [1.0, 5.0]
    late = _chronicle((11, "a1", "died", "b1"), (15.1, "c1", "died", "b1"))
    assert list(unnoticed(late, [death])) == ["c1 said only after 5.10 s that b1 died"]
    never = _chronicle((11, "a1", "died", "b1"), (9, "c1", "died", "b1"), (12, "c1", "left", "b1"))
    assert list(unnoticed(never, [death])) == ["c1 never said that b1 died"]


def test_lines_have_fixed_columns() -> None:
    lines = [Event(1.5, "a1", "start", "boot 1").line(), Event(1234.5678901, "c12", "power off", "x").line()]
    assert lines == [
        "    1.500000  a1          start         boot 1",
        " 1234.567890  c12         power off     x",
    ]
