"""A workload run for real under one policy after the other, for `potluck schedulers --live`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import trio

from ..node.execution.tasks import Task
from ..node.rehearsal import Rehearsal
from ..node.sandboxes.backends import available_sandboxes
from ..node.scheduling.fcfs import FirstCome
from ..node.scheduling.machine import Machine, Run
from ..node.scheduling.policy import Policy
from ..node.scheduling.workload import LIVE_MAX, Work, hurried
from ..overlay.errors import UsageError

PATIENCE_S: Final = 60.0
"""Beyond three times as long as it should take: machines have other things to do, and sandboxes take time to start."""


class Live(NamedTuple):
    """What has been run, which may be faster than what was given, and what came of it."""

    works: list[Work]
    runs: dict[str, Run]
    notes: str


def live(works: list[Work], policies: Mapping[str, Policy[Task]], processors: int, within_s: float) -> Live:
    """Raises UsageError, LimitExceeded, SandboxUnavailable."""
    if len(works) > LIVE_MAX:
        raise UsageError(f"--live: {len(works)} tasks, at most {LIVE_MAX}")
    virtual = Machine(FirstCome[Work](), processors=processors).play(works)
    times = max(1.0, max(one.ended_s or 0.0 for one in virtual.times.values()) / within_s)
    hurrying = hurried(works, times)
    sandboxes = available_sandboxes("auto")

    async def play(policy: Policy[Task]) -> Run:
        return await Rehearsal(policy, hurrying, sandboxes, processors).play(3 * within_s + PATIENCE_S)

    runs = {spec: trio.run(play, policy) for spec, policy in policies.items()}
    notes = [f"run for real in {sandboxes[0].backend} sandboxes"]
    if times > 1:
        notes.append(f"{times:.3g} times as fast as given")
    return Live(hurrying, runs, ", ".join(notes))
