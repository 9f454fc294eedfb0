"""Why tasks wait: what `explain` tells."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from itertools import islice
from typing import NamedTuple

from ...overlay.ids import NodeId, is_called
from .placement import Requirements, Worker, candidates, lacking
from .queue import Group
from .requirements import refusals_of
from .task import Task
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
    if needs.on and not any(is_called(worker.node_id, worker.name, needs.on) for worker in workers):
        return f"no node named {needs.on} is in the mesh"
    if needs.kind and not any(needs.kind in worker.capabilities.kinds for worker in workers):
        return f"no node handles instructions of kind {needs.kind!r}"
    refused = refusals_of(job, group)
    reasons = [f"{worker.name}: {refused.get(worker.node_id) or lacking(worker, needs)}" for worker in workers]
    return "no node can run this: " + "; ".join(reasons)


def _why_there(task: Task, workers: Mapping[NodeId, Worker]) -> str | None:
    """Why a task does not go on where it is; None for one that does, or that runs at another node as well."""
    worker = workers.get(task.node) if task.node is not None and task.copy is None else None
    if worker is None:
        return None
    if task.suspended:
        return f"it is suspended at {worker.name}"
    if worker.apart_since_s is not None:
        return f"it is at {worker.name}, which cannot be reached from here"
    if worker.closed and not worker.here:
        return f"it stands still at {worker.name}: {worker.closed}"
    if not task.started:
        return f"it is at {worker.name}, where a slot, or something else that it needs, is taken"
    return None


def waiting(
    now_s: float,
    job: Job,
    workers: Mapping[NodeId, Worker],
    requirements: Callable[[Group], Requirements],
    count_max: int,
) -> list[Waiting]:
    """Which of a job's tasks wait, and why."""
    found = [
        Waiting(index, f"{job.tasks[index].why_it_rests}; it is tried again in {max(0.0, until_s - now_s):.1f} s")
        for index, until_s in job.resting.items()
    ]
    for group, tasks in job.pending.items():
        needs = requirements(group)
        reason = "every slot that could run it is taken"
        lack: tuple[tuple[str, str], ...] = ()
        if job.on_hold:
            reason = "its new master asks which of its tasks run on"
        elif not candidates(workers, needs):
            reason = why_not(job, group, needs, workers.values())
            lack = tuple((one.name, what) for one in workers.values() if (what := lacking(one, needs)))
        found += [Waiting(task.index, reason, lack) for task in islice(tasks, count_max)]
    placed = (job.tasks[index] for indexes in job.at.values() for index in indexes)
    found += [Waiting(task.index, why) for task in placed if (why := _why_there(task, workers)) is not None]
    return sorted(found)[:count_max]
