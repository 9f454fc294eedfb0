"""The scenario `jobs` with the nodes as they are shipped. A failure names the command that replays it."""

from __future__ import annotations

import json
import subprocess
import sys
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.errors import UsageError
from potluck.simulations.run import run_scenario, run_with_log

_DIGEST = """
import json, sys
from potluck.simulations.run import run_scenario
seed = int(sys.argv[1])
answer = run_scenario("jobs", nodes=6, seed=seed, kill=0.34)
del answer["wall_s"]
print(json.dumps(answer))
"""


def _held(*, nodes: int, seed: int, kill: float) -> dict[str, object]:
    answer, log = run_with_log("jobs", nodes=nodes, seed=seed, kill=kill)
    broken = [check for check in answer["checks"] if not check["held"]]  # type: ignore[attr-defined]
    assert answer["held"], "\n".join([str(answer["replay"]), *map(str, broken), *log[-20:]])
    assert not broken
    return answer


@pytest.mark.parametrize("nodes,seed,kill", [(5, 1, 0.4), (8, 2, 0.3), (10, 3, 0.3), (12, 4, 0.5)])
def test_jobs_hold_while_machines_die(nodes: int, seed: int, kill: float) -> None:
    answer = _held(nodes=nodes, seed=seed, kill=kill)
    figures = answer["figures"]
    assert isinstance(figures, dict)
    assert figures["killed"] == round(nodes * kill)
    assert figures["tasks"] > 20


@settings(max_examples=8, deadline=None)
@given(nodes=st.integers(1, 6), seed=st.integers(0, 1 << 32), kill=st.floats(0, 1))
def test_small_meshes_hold_too(nodes: int, seed: int, kill: float) -> None:
    _held(nodes=nodes, seed=seed, kill=kill)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("nodes,seed", [(50, 7), *((12, seed) for seed in range(100, 160))])
def test_jobs_hold_for_many_nodes_and_seeds(nodes: int, seed: int) -> None:
    _held(nodes=nodes, seed=seed, kill=0.2 if nodes > 12 else 0.4)


def _answer_in_a_process(seed: int, hash_seed: int) -> dict[str, object]:
    done = subprocess.run(
        [sys.executable, "-c", _DIGEST, str(seed)],
        env={"PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=110,
        check=True,
    )
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_a_seed_gives_one_run_whatever_the_hash_seed() -> None:
    first, second = _answer_in_a_process(5, 1), _answer_in_a_process(5, 2)
    assert first == second
    other = _answer_in_a_process(6, 1)
    assert other["event_log_sha256"] != first["event_log_sha256"]
    assert other["held"] is first["held"] is True


def test_no_thread_is_started_and_the_answer_has_the_contracts_shape() -> None:
    before = threading.active_count()
    answer = run_scenario("jobs", nodes=2, seed=1, kill=0)
    assert threading.active_count() == before
    assert list(answer) == [
        *("scenario", "nodes", "seed", "held", "checks", "figures"),
        *("virtual_s", "wall_s", "event_log_sha256", "replay"),
    ]
    assert answer["replay"] == "potluck sim jobs --nodes 2 --seed 1 --kill 0"
    json.dumps(answer)


def test_what_a_scenario_makes_no_use_of_is_refused_and_not_replayed() -> None:
    for name in ("partition", "join", "agreement", "suspicion", "gossip"):
        with pytest.raises(UsageError, match="leave out --kill"):
            run_scenario(name, nodes=2, kill=0.1)
    assert run_scenario("join", nodes=2)["replay"] == "potluck sim join --nodes 2 --seed 1"


def test_suspicion_is_played_for_as_long_as_it_is_told() -> None:
    answer = run_scenario("suspicion", nodes=3, hours=0.01)
    assert answer["virtual_s"] == 36
    assert answer["replay"] == "potluck sim suspicion --nodes 3 --seed 1 --hours 0.01"


@pytest.mark.nightly
def test_a_goodbye_may_come_as_late_as_loss_makes_it_and_no_later() -> None:
    answer = run_scenario("jobs", nodes=12, seed=3, loss=0.2)
    assert answer["held"], answer
    shown = next(check for check in answer["checks"] if check["name"] == "who leaves is known to all")  # type: ignore[attr-defined]
    assert "within 4 s" in shown["detail"]


@pytest.mark.parametrize(
    "name,nodes,kill,match",
    [
        ("jobz", 3, 0.1, "there is jobs, loss, succession, registers, agreement, join, churn, suspicion, gossip"),
        ("jobs", -1, 0.1, "1 to"),
        ("jobs", 100_000, 0.1, "1 to"),
        ("jobs", 3, 1.5, "fraction"),
        ("jobs", 3, -0.1, "fraction"),
        ("jobs", 3, float("nan"), "fraction"),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, nodes: int, kill: float, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        run_scenario(name, nodes=nodes, seed=1, kill=kill)
