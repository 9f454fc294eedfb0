"""The scenario `loss` with the nodes as they are shipped. A failure names the command that replays it."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.overlay.dht.handover import HandOver
from potluck.overlay.dht.store import RecordStore
from potluck.simulations.run import run_with_log

CHECK = "nothing acknowledged is lost"


def held(nodes: int, seed: int) -> dict[str, Any]:
    answer, log = run_with_log("loss", nodes=nodes, seed=seed, kill=0.0)
    assert answer["held"], "\n".join([str(answer["replay"]), str(answer["checks"]), *log[-20:]])
    figures: dict[str, Any] = answer["figures"]  # type: ignore[assignment]
    return figures


@pytest.mark.parametrize("nodes,seed", [(5, 1), (5, 2), (5, 3), (6, 4), (6, 5), (7, 6), (8, 7), (10, 8)])
def test_nothing_acknowledged_is_lost(nodes: int, seed: int) -> None:
    figures = held(nodes, seed)
    assert figures["acknowledged"] > 20
    assert figures["reconverged_s"] <= 10


def test_a_seed_that_has_found_a_holder_without_the_last_write_stays_mended() -> None:
    """A writer that had not heard of a death gave its value to the dead node, after the one in its stead had asked the
    others for all that had become due. The direct test is beside the hand-over's."""
    held(10, 10100)


@pytest.mark.nightly
@pytest.mark.timeout(120)
@pytest.mark.parametrize("seed", range(1000, 2000))
def test_nothing_acknowledged_is_lost_in_a_thousand_runs(seed: int) -> None:
    held(5 + seed % 6, seed)


async def _never(self: HandOver) -> None:
    """Settles at once, and moves nothing."""
    self._engine.seen(self._near())
    self._engine.taken(self._engine.due, self._engine.losses)
    self._engine.settle()


def _forgetful(self: RecordStore, now_s: float, record: Any) -> None:
    return None


@pytest.mark.parametrize("owner,name,sabotage", [(HandOver, "_round", _never), (RecordStore, "put", _forgetful)])
def test_the_check_notices(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, sabotage: Any) -> None:
    monkeypatch.setattr(owner, name, sabotage)
    answer, _ = run_with_log("loss", nodes=6, seed=1, kill=0.0)
    assert CHECK in {one["name"] for one in answer["checks"] if not one["held"]}  # type: ignore[attr-defined]
