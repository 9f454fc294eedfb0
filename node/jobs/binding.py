"""Which task is to go on where, when a person moves one."""

from __future__ import annotations

from collections.abc import Iterable

from ...overlay.errors import NotAllowed, NotFound
from ...overlay.ids import NodeId, check_one, is_called
from .placement import Worker
from .task import Task
from .tasks import Job


def task_and_target(job: Job, index: int, node_id: NodeId, name: str, workers: Iterable[Worker]) -> tuple[Task, Worker]:
    """The task that this node has, and the node of that name. Raises NotFound, UsageError, NotAllowed."""
    task = job.tasks.get(index)
    if task is None or node_id not in task.nodes:
        raise NotFound(f"task {job.job_id}/{index} is not at that node any more")
    called = [worker for worker in workers if is_called(worker.node_id, worker.name, name)]
    check_one(name, [worker.node_id for worker in called])
    if not called:
        raise NotFound(f"no node named {name} is in the mesh")
    (target,) = called
    if target.node_id in task.nodes:
        raise NotAllowed(f"task {job.job_id}/{index} is at {name} already")
    return task, target
