"""Versions only grow; no minority of clocks moves the time of the mesh."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.clock import HybridClock, MeshTime, time_of, version_at

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


honest_s = st.floats(-0.05, 0.05)
wrong_s = st.one_of(st.floats(-3700, -3500), st.floats(3500, 3700), st.floats(allow_nan=True, allow_infinity=True))


@given(own_s=honest_s, honest=st.lists(honest_s, max_size=8), data=st.data())
def test_a_minority_of_wrong_clocks_moves_nothing(own_s: float, honest: list[float], data: st.DataObject) -> None:
    truth_s = 1_700_000_000.0
    wrong = data.draw(st.lists(wrong_s, max_size=len(honest)))
    now_s = 5.0
    mesh_time = MeshTime(lambda: now_s, truth_s + own_s)
    clocks = data.draw(st.permutations([*honest, *wrong]))
    for n, error_s in enumerate(clocks):
        now_s += 1.0
        mesh_time.sampled(bytes([n]), truth_s + (now_s - 5.0) + error_s, 0.0)
    spread = [own_s, *honest]
    reached_s = mesh_time.now_s() - (truth_s + now_s - 5.0)
    assert min(spread) - 1e-3 <= reached_s <= max(spread) + 1e-3
    for n in range(len(clocks)):
        mesh_time.forget(bytes([n]))
    assert abs(mesh_time.now_s() - (truth_s + own_s + now_s - 5.0)) < 1e-3
    assert abs(mesh_time.own_error_s) < 1e-3


def test_a_node_whose_own_clock_is_wrong_is_outvoted_and_told() -> None:
    mesh_time = MeshTime(lambda: 0.0, 1_000_000.0 + 3600)
    for n in range(3):
        mesh_time.sampled(bytes([n]), 1_000_000.0, 0.0)
    assert mesh_time.now_s() == 1_000_000.0
    assert mesh_time.own_error_s == 3600


@pytest.mark.parametrize("wall_time_s", [math.nan, math.inf, -math.inf, 1e300, -1e300, -1.0, 1e12])
def test_a_time_that_no_clock_shows_is_not_counted(wall_time_s: float) -> None:
    """In a mesh of two there is no majority: what a peer says has to make sense at least."""
    mesh_time = MeshTime(lambda: 0.0, 1_700_000_000.0)
    mesh_time.sampled(b"n", wall_time_s, 0.0)
    assert mesh_time.now_s() == 1_700_000_000.0
    assert 0 < HybridClock(mesh_time.now_s).next_version() < 1 << 63
