"""Failure detectors together, in virtual time: what they find out, how soon, and what they never say."""

from __future__ import annotations

from statistics import median

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.config import Membership
from potluck.overlay.membership.detector import Changed
from potluck.overlay.wire.gossip import Status
from potluck.simulations import gossip, suspicion
from potluck.simulations.detectors import Mesh, Peer

RECONVERGED_S = 10.0
DETECTED_MEDIAN_S = 3.0
DETECTED_WORST_S = 7.0


class Witness:
    """Notes who said when that somebody died."""

    def __init__(self) -> None:
        self.deaths: list[tuple[float, str, str]] = []

    def __call__(self, now_s: float, peer: Peer, change: Changed) -> None:
        if change.event == "died":
            self.deaths.append((now_s, peer.own.name, change.member.name))


def make(nodes: int, seed: int) -> tuple[Mesh, Witness]:
    witness = Witness()
    return Mesh(nodes, seed, Membership(), witness), witness


def agree(mesh: Mesh) -> bool:
    """Whether everyone who runs holds exactly those who run for alive."""
    running = {peer.own.node_id for peer in mesh.peers if peer.ended_s > mesh.now_s}
    return all(
        {one.node_id for one in peer.detector.present() if one.status is Status.ALIVE} == running - {peer.own.node_id}
        for peer in mesh.peers
        if peer.own.node_id in running
    )


faults = st.one_of(
    st.tuples(st.just("part"), st.lists(st.integers(0, 1), min_size=6, max_size=6)),
    st.tuples(st.just("heal"), st.none()),
    st.tuples(st.just("stop"), st.integers(0, 5)),
    st.tuples(st.just("end"), st.integers(3, 5)),
)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), history=st.lists(st.tuples(faults, st.floats(0, 20)), max_size=5))
def test_after_any_history_and_some_quiet_all_agree_on_who_is_there(seed: int, history: list) -> None:  # type: ignore[type-arg]
    mesh, _ = make(6, seed)
    for (what, detail), pause_s in history:
        if what == "part":
            mesh.heal()
            mesh.part(detail)
        elif what == "heal":
            mesh.heal()
        elif what == "stop":
            mesh.stop(mesh.peers[detail], 15.0)
        elif mesh.peers[detail].ended_s > mesh.now_s:
            mesh.end(mesh.peers[detail], refuses=detail == 3)
        mesh.run(mesh.now_s + pause_s)
    mesh.heal()
    mesh.run(mesh.now_s + 60)
    assert agree(mesh)
    for peer in mesh.peers:
        peer.detector.check()


@pytest.mark.parametrize("apart_s", [5.0, 20.0, 1800.0])
@pytest.mark.parametrize("groups", [[0, 0, 0, 1, 1], [0, 1, 0, 0, 0, 0, 0], [0, 1]])
def test_islands_are_one_again_soon_after_the_network_is(groups: list[int], apart_s: float) -> None:
    mesh, _ = make(len(groups), seed=len(groups))
    mesh.run(5)
    mesh.part(groups)
    mesh.run(5 + apart_s)
    mesh.heal()
    mesh.run(5 + apart_s + RECONVERGED_S)
    assert agree(mesh)


def test_a_machine_that_slept_returns_as_itself() -> None:
    mesh, witness = make(5, seed=2)
    mesh.run(5)
    sleeper = mesh.peers[2]
    life = (sleeper.own.boot_id, sleeper.own.incarnation)
    mesh.stop(sleeper, 300)
    mesh.run(300)
    assert {name for _, _, name in witness.deaths} == {sleeper.own.name}
    mesh.run(305 + RECONVERGED_S)
    assert agree(mesh)
    known = mesh.peers[0].detector.members[sleeper.own.node_id]
    assert known.boot_id == life[0] and known.incarnation > life[1]


def detected_s(nodes: int, seed: int) -> float:
    """From a silent death until the last of the others knows."""
    mesh, witness = make(nodes, seed)
    mesh.run(10 + seed % 10 / 10)
    began_s = mesh.now_s
    mesh.end(mesh.peers[seed % nodes])
    mesh.run(began_s + 30)
    assert {name for _, _, name in witness.deaths} == {mesh.peers[seed % nodes].own.name}
    assert len(witness.deaths) == nodes - 1
    return max(at_s for at_s, _, _ in witness.deaths) - began_s


@pytest.mark.parametrize("nodes", [2, 3, 6, 10, 40])
def test_a_silent_death_is_known_to_all_in_seconds(nodes: int) -> None:
    taken_s = [detected_s(nodes, seed) for seed in range(10 if nodes <= 10 else 2)]
    assert max(taken_s) <= DETECTED_WORST_S
    assert nodes not in (6, 10) or median(taken_s) <= DETECTED_MEDIAN_S


def test_slow_links_and_a_slow_node_cost_nobody_healthy_its_life() -> None:
    checks, figures, _ = suspicion.play(nodes=10, seed=5, virtual_s=120.0)
    assert [check.name for check in checks if not check.held] == []
    assert 0.05 <= figures["health_on_held_up"] <= 0.15  # type: ignore[operator]


def test_the_same_seed_gives_the_same_story() -> None:
    assert suspicion.play(nodes=5, seed=5, virtual_s=30.0) == suspicion.play(nodes=5, seed=5, virtual_s=30.0)


@pytest.mark.nightly
@pytest.mark.timeout(8 * 3600)
def test_in_24_node_days_of_stalls_no_healthy_node_is_declared_dead() -> None:
    checks, figures, _ = suspicion.play(nodes=10, seed=1, virtual_s=2.4 * 86_400)
    print(figures)
    assert [check.name for check in checks if not check.held] == []


@pytest.mark.parametrize("nodes", [10, 40])
def test_an_idle_node_sends_little(nodes: int) -> None:
    checks, figures, _, _ = gossip.play(nodes, seed=1)
    assert [check.detail for check in checks if not check.held] == []
    assert 0 < figures["idle_bytes_per_node_and_s"] < figures["busy_bytes_per_node_and_s"]  # type: ignore[operator]
