"""A workload that is run for real: what is told of it is what has happened."""

from __future__ import annotations

from itertools import pairwise

import pytest
import trio
from potluck.node.rehearsal import Rehearsal
from potluck.node.sandboxes.backends import available_sandboxes
from potluck.node.scheduling.catalogue import make
from potluck.node.scheduling.machine import Run
from potluck.node.scheduling.workload import Work
from potluck.overlay.errors import LimitExceeded

PATIENCE_S = 90.0


def rehearsed(policy: str, works: list[Work], slots: int = 1, within_s: float = PATIENCE_S) -> Run:
    async def play() -> Run:
        return await Rehearsal(make(policy), works, available_sandboxes("auto"), slots).play(within_s)

    return trio.run(play)


def test_every_task_is_told_from_its_arrival_to_its_end() -> None:
    works = [
        Work(key, f"t{key}", 0.1 * key, (0.1,), submitter=who, function="f", priority=key)
        for key, who in enumerate(["ann", "bo", "ann"])
    ]
    run = rehearsed("rr:time_quantum_ms=30", works, slots=2)
    assert set(run.times) == {0, 1, 2}
    assert run.statistics.ended == 3
    for work in works:
        times = run.times[work.key]
        assert times.first_ran_s is not None and times.ended_s is not None
        assert work.arrives_s <= times.created_s <= times.first_ran_s <= times.ended_s
        spans = [part for part in run.segments if part.key == work.key]
        assert sum(part.ended_s - part.began_s for part in spans) == pytest.approx(times.ran_s)
        assert times.ran_s >= work.runs_s
    for slot in range(2):
        of_slot = sorted(part[2:] for part in run.segments if part.processor == slot)
        assert all(before[1] <= after[0] for before, after in pairwise(of_slot))


def test_a_task_between_its_bursts_gives_its_slot_away() -> None:
    waits = Work(0, "waits", 0.0, (0.02, 0.02), waits_s=3.0, function="waits")
    other = Work(1, "other", 0.0, (0.02,), function="other")
    run = rehearsed("fcfs", [waits, other])
    first, between, last = sorted(run.segments, key=lambda part: part.began_s)
    assert [first.key, between.key, last.key] == [0, 1, 0]
    assert last.began_s - first.ended_s >= 2.9


def test_what_takes_too_long_is_said() -> None:
    with pytest.raises(LimitExceeded, match="1 of 1 tasks have not ended"):
        rehearsed("fcfs", [Work(0, "long", 0.0, (600.0,))], within_s=1.0)
