"""Nodes that live and cannot be reached from here, because the way to them is broken, and to others it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from ...overlay.ids import NodeId
from .placement import Worker
from .queue import Group
from .task import Task
from .tasks import Job

PATIENCE_S: Final = 5.0
"""A link that breaks is there again in a second or two, mostly."""


def out_of_reach(
    now_s: float, job: Job, workers: Mapping[NodeId, Worker], able: Callable[[Group], frozenset[NodeId]]
) -> Iterator[tuple[NodeId, list[Task]]]:
    """What such a node has had for longer than that and others could run. What may run once only stays with it."""
    for node_id, indexes in [] if job.options.at_most_once else list(job.at.items()):
        since_s = workers[node_id].apart_since_s if node_id in workers else None
        if since_s is None or now_s - since_s < PATIENCE_S:
            continue
        tasks = [job.tasks[index] for index in sorted(indexes)]
        if stranded := [task for task in tasks if able((task.program, task.kind))]:
            yield node_id, stranded
