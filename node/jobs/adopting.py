"""Tasks that run on where an earlier master of their job gave them: they are not placed, but taken over."""

from __future__ import annotations

from collections.abc import Collection

from msgspec import structs

from ...overlay.errors import WorkerLost
from ...overlay.ids import NodeId
from ...overlay.wire.work import Finished
from .ends import fault_of
from .placement import Requirements, Worker, lacking
from .task import Task
from .tasks import Job


def may_hold(worker: Worker, needs: Requirements) -> bool:
    """Whatever has come between since it was given the task: its owner may want the machine, or it leaves."""
    return lacking(structs.replace(worker, closed="", leaving=False), needs) is None


def taken_over(job: Job, node_id: NodeId, indexes: Collection[int]) -> list[Task]:
    """Those of them that waited: from now on they are at this node. None may lie in a bale."""
    found: list[Task] = []
    for index in indexes:
        task = job.tasks.get(index)
        if task is not None and not task.nodes and index not in job.resting:
            job.pending.discard((task.program, task.kind), task)
            task.node = node_id
            found.append(task)
    return found


def also_at(job: Job, node_id: NodeId, indexes: Collection[int]) -> list[Task]:
    """Those that are at another node and run at this one, too, from now on as copies."""
    found: list[Task] = []
    for index in indexes if not job.options.at_most_once else ():
        task = job.tasks.get(index)
        if task is not None and task.node not in (None, node_id) and task.copy is None:
            task.copy = node_id
            found.append(task)
    return found


def lost_with_master(task: Task, why: str) -> Finished:
    return fault_of(task, WorkerLost(f"its master was lost, and {why}; it may have run, and is not to be run twice"))
