"""Why tasks wait: what `explain` tells."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

from .balance import Group
from .placement import Requirements, Worker, lacking
from .requirements import refusals_of
from .tasks import Job


class Waiting(NamedTuple):
    task: int
    """Its index."""
    reason: str
    lacking: tuple[tuple[str, str], ...] = ()
    """Nodes that cannot run it, and what they lack."""

    def as_dict(self, job: str) -> dict[str, object]:
        return {
            "task": f"{job}/{self.task}",
            "reason": self.reason,
            "lacking": [{"node": node, "what": what} for node, what in self.lacking],
        }


def why_not(job: Job, group: Group, needs: Requirements, workers: Collection[Worker]) -> str:
    """Why no node can run tasks of this program and kind."""
    if needs.on and needs.on not in {worker.name for worker in workers}:
        return f"no node named {needs.on} is in the mesh"
    if needs.kind and not any(needs.kind in worker.capabilities.kinds for worker in workers):
        return f"no node handles instructions of kind {needs.kind!r}"
    refused = refusals_of(job, group)
    reasons = [f"{worker.name}: {refused.get(worker.node_id) or lacking(worker, needs)}" for worker in workers]
    return "no node can run this: " + "; ".join(reasons)
