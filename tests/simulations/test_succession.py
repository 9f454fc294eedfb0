"""The scenario `succession` with the nodes as they are shipped. A failure names the command that replays it."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.node.custody import seats, succession
from potluck.node.custody.journal import Journal
from potluck.node.custody.resuming import Resuming
from potluck.node.execution.orphans import Orphans
from potluck.node.execution.tasks import Job
from potluck.overlay.ids import NodeId
from potluck.simulations.run import run_with_log


def played(seed: int, nodes: int = 0) -> tuple[dict[str, Any], list[str]]:
    answer, log = run_with_log("succession", nodes=nodes, seed=seed)
    return answer, log  # type: ignore[return-value]


def held(seed: int, nodes: int = 0) -> dict[str, Any]:
    answer, log = played(seed, nodes)
    broken = [one for one in answer["checks"] if not one["held"]]
    assert not broken, "\n".join([answer["replay"], *map(str, broken), *log[-20:]])
    return answer["figures"]


@pytest.mark.parametrize("seed", range(12))
def test_jobs_outlive_their_masters(seed: int) -> None:
    figures = held(seed)
    assert figures["acknowledged"] and figures["tasks"] > 10


@pytest.mark.parametrize("nodes,seed", [(2, 0), (2, 3), (2, 53), (2, 114), (3, 2), (3, 17), (9, 1)])
def test_in_meshes_of_other_sizes_too(nodes: int, seed: int) -> None:
    held(seed, nodes)


def test_a_new_master_gives_out_work_within_seconds() -> None:
    took_s = [took for seed in (5, 9) for took in held(seed)["reassigned_s"]]
    assert took_s and sorted(took_s)[len(took_s) // 2] <= 10


@pytest.mark.nightly
@pytest.mark.parametrize("seed", range(1000, 5000))
def test_jobs_outlive_their_masters_four_thousand_times(seed: int) -> None:
    held(seed)


def _shows_at_once(self: Journal) -> None:
    self.shown = self.log.length


def _takes_any_seat(job: str, by: bytes, *_conditions: object) -> seats.Change:
    def change(found: seats.Seats) -> seats.Seat:
        return seats.Seat(by, found[job].epoch + 1, [])

    return seats._changing(job, change)


def _keeps_nothing(self: Orphans, now_s: float, job: Job) -> None:
    self._end(job)


def _asks_nobody(self: Resuming) -> list[NodeId]:
    return []


_ALL_AGAIN = [(Orphans, "take", _keeps_nothing), (Resuming, "_workers", _asks_nobody)]
"""Else two masters may tell the same outcome, because it ran once."""
OUTCOMES = "each task has one outcome, the right one"
RUNS_ON = "what ran elsewhere when its master died ran on"


@pytest.mark.parametrize(
    "sabotages,check,seed",
    [
        ([(Journal, "_show", _shows_at_once)], OUTCOMES, 22),
        ([(succession, "succeed", _takes_any_seat), *_ALL_AGAIN], OUTCOMES, 10),
        ([(Orphans, "take", _keeps_nothing)], RUNS_ON, 4),
        ([(Resuming, "_workers", _asks_nobody)], RUNS_ON, 4),
    ],
)
def test_the_checks_notice(
    monkeypatch: pytest.MonkeyPatch, sabotages: list[tuple[Any, str, Any]], check: str, seed: int
) -> None:
    """By a seed that has found it once; where events have moved since, by one of the first fifty."""
    for owner, name, sabotage in sabotages:
        monkeypatch.setattr(owner, name, sabotage)
    assert any(_is_noticed(tried, check) for tried in (seed, *range(50)))


def _is_noticed(seed: int, check: str) -> bool:
    answer, _ = played(seed)
    return check in {one["name"] for one in answer["checks"] if not one["held"]}
