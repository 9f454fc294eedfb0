"""Versions only grow; no minority of clocks moves the time of the mesh."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.clock import APART_S, AS_OLD_S, GROWN_S, HybridClock, MeshTime, Said, time_of, version_at

times_s = st.floats(0, 1e10)


@given(steps=st.lists(times_s | st.integers(0, (1 << 62)), max_size=40))
def test_versions_only_grow_whatever_time_does(steps: list[float | int]) -> None:
    """A float sets the time, forwards or back; an integer is another node's version."""
    now_s = 0.0
    clock = HybridClock(lambda: now_s)
    highest = -1
    for step in steps:
        if isinstance(step, int):
            clock.observe(step)
            highest = max(highest, step)
        else:
            now_s = step
        version = clock.next_version()
        assert version > highest
        assert version >= version_at(now_s)
        highest = version


@given(times=st.lists(times_s, min_size=1, max_size=20))
def test_a_version_tells_its_time_to_the_millisecond(times: list[float]) -> None:
    for time_s in times:
        assert time_s - 0.002 < time_of(version_at(time_s)) <= time_s + 1e-6
    assert sorted(map(version_at, times)) == list(map(version_at, sorted(times)))


TRUTH_S = 1_700_000_000.0
OLD_S = 1000.0
honest_s = st.floats(-0.05, 0.05)
errors_s = st.sampled_from([-3600.0, 0.0, 3600.0]) | st.floats(-3700, 3700)
wrong_s = st.one_of(st.floats(-3700, -3500), st.floats(3500, 3700), st.floats(allow_nan=True, allow_infinity=True))
lies = st.tuples(wrong_s, st.floats(0, 1e9) | st.floats(allow_nan=True, allow_infinity=True))


class Machine:
    """A node's clocks. Every machine counts its running seconds from a moment of its own."""

    def __init__(self, number: int, now_s: Callable[[], float], error_s: float) -> None:
        self.who = bytes([number])
        self.time = MeshTime(lambda: now_s() + 1e5 * number, lambda: TRUTH_S + now_s() + error_s, self.who)
        self._now_s = now_s

    @property
    def error_s(self) -> float:
        return self.time.now_s() - self._now_s() - TRUTH_S


class Mesh:
    def __init__(self) -> None:
        self.now_s = 0.0
        self.machines: list[Machine] = []

    def add(self, error_s: float) -> Machine:
        machine = Machine(len(self.machines), lambda: self.now_s, error_s)
        self.machines.append(machine)
        return machine

    def meet(self, one: Machine, other: Machine) -> None:
        """As a link's opening does: each hears what the other said before it heard."""
        said = one.time.says(), other.time.says()
        other.time.sampled(one.who, said[0])
        one.time.sampled(other.who, said[1])

    def everybody_meets(self, rounds: int = 4) -> None:
        for _ in range(rounds):
            for one, other in itertools.combinations(self.machines, 2):
                self.meet(one, other)

    def spread_s(self) -> float:
        errors = [machine.error_s for machine in self.machines]
        return max(errors) - min(errors)


@given(own_s=honest_s, honest=st.lists(honest_s, min_size=1, max_size=8), is_old=st.booleans(), data=st.data())
def test_a_minority_of_wrong_clocks_moves_nothing_whatever_it_says(
    own_s: float, honest: list[float], is_old: bool, data: st.DataObject
) -> None:
    """Of a mesh of three or more; a newcomer is none of those who are heard."""
    now_s = 5.0
    time = MeshTime(lambda: now_s, lambda: TRUTH_S + own_s)
    now_s += OLD_S if is_old else 0.0
    liars = data.draw(st.lists(lies, max_size=len(honest) - (0 if is_old else 1)))
    voices = data.draw(st.permutations([*((error_s, OLD_S) for error_s in honest), *liars]))
    for n, (error_s, age_s) in enumerate(voices):
        time.sampled(bytes([n]), Said(TRUTH_S + (now_s - 5.0) + error_s, age_s))
    spread = [own_s, *honest]
    reached_s = time.now_s() - (TRUTH_S + now_s - 5.0)
    assert min(spread) - 1e-3 <= reached_s <= max(spread) + 1e-3
    for n in range(len(voices)):
        time.forget(bytes([n]))
    assert abs(time.now_s() - (TRUTH_S + now_s - 5.0) - reached_s) < 1e-3, "who goes takes no time along"


@given(first_s=errors_s, second_s=errors_s, pause_s=st.floats(0, 60), met_after_s=st.floats(0, 60))
def test_two_nodes_agree_on_the_time_of_the_one_that_has_lived_longer(
    first_s: float, second_s: float, pause_s: float, met_after_s: float
) -> None:
    mesh = Mesh()
    elder = mesh.add(first_s)
    mesh.now_s += pause_s
    younger = mesh.add(second_s)
    mesh.now_s += met_after_s
    mesh.everybody_meets(rounds=2)
    assert abs(elder.error_s - younger.error_s) <= APART_S
    if pause_s > AS_OLD_S and abs(first_s - second_s) > APART_S:
        assert abs(elder.error_s - first_s) < 1e-3
    mesh.now_s += 2 * GROWN_S
    mesh.everybody_meets(rounds=2)
    assert mesh.spread_s() <= APART_S, "and keep to it when both are grown"


@given(
    members=st.integers(1, 5),
    founder_s=errors_s,
    comers=st.lists(st.tuples(errors_s, st.floats(0, 30)), max_size=6),
    data=st.data(),
)
def test_whoever_comes_takes_on_the_time_that_the_mesh_has(
    members: int, founder_s: float, comers: list[tuple[float, float]], data: st.DataObject
) -> None:
    """Also one that a wrong clock began: what was written by it stays in nobody's future."""
    mesh = Mesh()
    for _ in range(members):
        mesh.add(founder_s)
    mesh.now_s += 2 * GROWN_S
    mesh.everybody_meets()
    for error_s, pause_s in comers:
        comer = mesh.add(error_s)
        for other in data.draw(st.permutations(mesh.machines[:-1])):
            mesh.meet(comer, other)
        assert abs(comer.error_s - founder_s) < 1e-3
        mesh.now_s += pause_s
    mesh.everybody_meets()
    mesh.now_s += 2 * GROWN_S
    mesh.everybody_meets()
    assert all(abs(machine.error_s - founder_s) < 1e-3 for machine in mesh.machines)


@given(errors=st.lists(errors_s, min_size=3, max_size=7), pauses=st.lists(st.floats(0, 3), min_size=7, max_size=7))
def test_nodes_started_together_come_to_one_time_among_those_of_the_majority(
    errors: list[float], pauses: list[float]
) -> None:
    mesh = Mesh()
    for error_s, pause_s in zip(errors, pauses, strict=False):
        comer = mesh.add(error_s)
        for other in mesh.machines[:-1]:
            mesh.meet(comer, other)
        mesh.now_s += min(pause_s, 9.0 / len(errors))
    mesh.everybody_meets()
    right = [error_s for error_s in errors if abs(error_s - sorted(errors)[len(errors) // 2]) < 0.5]
    if len(right) > len(errors) / 2:
        assert all(min(right) - 1e-3 <= machine.error_s <= max(right) + 1e-3 for machine in mesh.machines)
    for _ in range(2):
        mesh.now_s += GROWN_S
        mesh.everybody_meets()
    assert mesh.spread_s() <= APART_S


def test_a_node_whose_clock_lags_behind_its_own_records_begins_with_theirs() -> None:
    time = MeshTime(lambda: 7.0, lambda: TRUTH_S)
    time.not_before(TRUTH_S - 1)
    assert time.now_s() == TRUTH_S
    time.not_before(TRUTH_S + 3600)
    assert time.says() == Said(TRUTH_S + 3600, 0.0, TRUTH_S)


def test_a_machine_that_slept_is_put_right_by_the_others_and_its_steps_are_told() -> None:
    """Should its running clock have stood still with it."""
    mesh = Mesh()
    for _ in range(3):
        mesh.add(0.0)
    mesh.now_s += OLD_S
    mesh.everybody_meets()
    asleep_s = 0.0
    sleeper = MeshTime(lambda: mesh.now_s - asleep_s, lambda: TRUTH_S + mesh.now_s)
    mesh.now_s += OLD_S
    steps: list[float] = []
    sleeper.stepped.append(steps.append)
    asleep_s = 500.0
    for machine in mesh.machines:
        sleeper.sampled(machine.who, machine.time.says())
    assert abs(sleeper.now_s() - mesh.now_s - TRUTH_S) < 1e-3
    assert [round(step_s) for step_s in steps] == [500]


@given(walls=st.lists(honest_s | wrong_s.filter(math.isfinite), max_size=8), own_s=honest_s | st.sampled_from([3600.0]))
def test_a_wall_clock_is_wrong_where_most_say_so_whatever_time_the_mesh_has(walls: list[float], own_s: float) -> None:
    time = MeshTime(lambda: 7.0, lambda: TRUTH_S + own_s)
    time.not_before(TRUTH_S + 60 + max(0.0, own_s))
    ahead_s = 60 + max(0.0, own_s) - own_s  # the mesh's time, of this clock
    for n, wall_s in enumerate(walls):
        time.sampled(bytes([n]), Said(time.now_s(), OLD_S, TRUTH_S + wall_s))
    error_s = time.wall_error_s()
    right = sum(abs(wall_s) < 1 for wall_s in [*walls, own_s])
    if right > (len(walls) + 1) / 2 and right > 1:
        assert abs(error_s - own_s) < 0.2
    elif not walls:
        assert abs(error_s + ahead_s) < 1e-3, "nobody else is there: the mesh's time"
    for n in range(len(walls)):
        time.forget(bytes([n]))
    assert abs(time.wall_error_s() + ahead_s) < 1e-3


@pytest.mark.parametrize("time_s", [math.nan, math.inf, -math.inf, 1e300, -1e300, -1.0, 1e12])
def test_a_time_that_no_clock_shows_is_not_counted(time_s: float) -> None:
    """In a mesh of two there is no majority: what a peer says has to make sense at least."""
    mesh_time = MeshTime(lambda: 0.0, lambda: TRUTH_S)
    mesh_time.sampled(b"n", Said(time_s, OLD_S))
    mesh_time.sampled(b"m", Said(0.0, time_s))
    assert mesh_time.now_s() == TRUTH_S
    assert 0 < HybridClock(mesh_time.now_s).next_version() < 1 << 63
