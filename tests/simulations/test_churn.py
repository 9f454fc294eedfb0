"""The scenario `churn`: what was set is read at once after a third of the machines has died."""

from __future__ import annotations

import pytest
from potluck.overlay.config import Dht
from potluck.simulations import churn
from potluck.simulations.run import run_scenario


def _held(nodes: int, seed: int, kill: float) -> dict[str, object]:
    answer = run_scenario("churn", nodes=nodes, seed=seed, kill=kill)
    assert answer["held"], (answer["replay"], answer["checks"])
    figures = answer["figures"]
    assert isinstance(figures, dict)
    assert figures["killed"] == round(nodes * kill)
    assert figures["get_ok_before"] == figures["get_ok_after"] == 1.0
    return figures


@pytest.mark.parametrize("nodes,seed,kill", [(20, 1, 0.1), pytest.param(60, 2, 0.3, marks=pytest.mark.nightly)])
def test_every_key_is_read_at_once(nodes: int, seed: int, kill: float) -> None:
    _held(nodes, seed, kill)


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("nodes,seed", [*((200, seed) for seed in range(1, 6)), (1000, 1)])
def test_every_key_is_read_at_once_in_a_large_mesh(nodes: int, seed: int) -> None:
    _held(nodes, seed, 0.3)


def test_a_seed_gives_one_run() -> None:
    first, second = (run_scenario("churn", nodes=12, seed=5, kill=0.2) for _ in range(2))
    assert first["event_log_sha256"] == second["event_log_sha256"]


@pytest.mark.nightly
def test_keys_of_which_every_copy_dies_are_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check is able to fail: of larger values no further copies are made."""
    monkeypatch.setattr(churn, "VALUE_BYTES", Dht().small_value_bytes + 1)
    answer = run_scenario("churn", nodes=40, seed=1, kill=0.6)
    checks = answer["checks"]
    assert isinstance(checks, list)
    held = {check["name"]: check["held"] for check in checks}
    assert held["every key is read before anybody dies"]
    assert not held["every key is read at once after"]
