"""The scenario `join`: very many overlays find their places, and finding one another costs little."""

from __future__ import annotations

import pytest
from potluck.simulations.join import LOOKUPS_MAX
from potluck.simulations.run import run_scenario


def _held(nodes: int, seed: int) -> dict[str, object]:
    answer = run_scenario("join", nodes=nodes, seed=seed)
    assert answer["held"], (answer["replay"], answer["checks"])
    figures = answer["figures"]
    assert isinstance(figures, dict)
    assert figures["lookups"] == min(nodes, LOOKUPS_MAX)
    return figures


@pytest.mark.parametrize("nodes,seed", [(1, 1), (2, 1), (7, 2), (33, 3), (100, 4)])
def test_everybody_finds_everybody(nodes: int, seed: int) -> None:
    figures = _held(nodes, seed)
    assert figures["table_max"] <= nodes - 1
    if nodes == 1:
        assert figures["join_rpcs"] == 0


def test_a_seed_gives_one_run() -> None:
    first, second, other = (run_scenario("join", nodes=20, seed=seed) for seed in (5, 5, 6))
    assert first["event_log_sha256"] == second["event_log_sha256"] != other["event_log_sha256"]


@pytest.mark.nightly
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("nodes", [300, 1000, 3000, 10_000])
def test_costs_grow_with_the_logarithm(nodes: int) -> None:
    assert _held(nodes, 1)["lookup_rounds_mean"] <= 2.5 or nodes > 1000
