"""The scenario `partition`: two islands become one again in time, and its checks can fail."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.node.memory import SharedMemory
from potluck.simulations.ether import Ether
from potluck.simulations.run import run_scenario, run_with_log

from .planted import Bug, broken_checks


def held(nodes: int, seed: int) -> dict[str, Any]:
    answer, log = run_with_log("partition", nodes=nodes, seed=seed)
    broken = [check for check in answer["checks"] if not check["held"]]  # type: ignore[attr-defined]
    assert answer["held"], "\n".join([str(answer["replay"]), *map(str, broken), *log[-20:]])
    return answer


@pytest.mark.parametrize("nodes,seed", [(2, 1), (5, 2), (10, 3)])
def test_two_islands_are_one_again_within_ten_seconds(nodes: int, seed: int) -> None:
    figures = held(nodes, seed)["figures"]
    assert 0 < figures["reconverged_s"] <= 10
    assert figures["island"] == nodes // 2


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("seed", range(100))
def test_islands_of_five_are_one_again_for_many_seeds(seed: int) -> None:
    held(10, seed)


def test_without_a_mesh_there_is_nothing_to_part() -> None:
    answer = run_scenario("partition", nodes=3, seed=1, loss=1.0)
    checks: Any = answer["checks"]
    assert [one["name"] for one in checks if not one["held"]] == ["everyone joined and knows everyone"]
    assert len(checks) == 2


def _never_apart(original: Any) -> Any:
    return lambda self, groups: None


def _alone_content(original: Any) -> Any:
    """Counts without asking anybody."""
    totals: dict[int, int] = {}

    async def increment(self: SharedMemory, key: str, amount: int) -> dict[str, object]:
        totals[id(self)] = totals.get(id(self), 0) + amount
        return {"key": key, "value": totals[id(self)], "version": 1, "replicas": 1}

    return increment


@pytest.mark.parametrize(
    "owner,name,sabotage,check",
    [
        (Ether, "partition", _never_apart, "each island sees only itself"),
        (Ether, "heal", lambda original: lambda self: None, "they are one again in time"),
        (SharedMemory, "increment", _alone_content, "one island at most goes on counting"),
        (SharedMemory, "increment", _alone_content, "no increment is lost or done twice"),
    ],
)
def test_the_right_check_notices(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, sabotage: Bug, check: str
) -> None:
    assert check in broken_checks(monkeypatch, owner, name, sabotage, "partition", nodes=4, seed=1)
