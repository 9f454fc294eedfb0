"""What holds of a master's tables after every event."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from ...overlay.ids import NodeId
from .placement import Worker
from .tasks import Job


def check(workers: Mapping[NodeId, Worker], jobs: Iterable[Job]) -> None:
    """Raises AssertionError."""
    outstanding = dict.fromkeys(workers, 0)
    for job in jobs:
        job.pending.check()
        waiting = {task.index for _group, row in job.pending.items() for task in row}
        placed = {index for indexes in job.at.values() for index in indexes}
        assert not waiting & placed, "a task is pending or assigned, not both"
        assert not (waiting | placed) & set(job.resting), "who rests does nothing else"
        assert waiting | placed | set(job.resting) == set(job.indexes()), "no task is lost"
        assert len(set(job.indexes())) == job.unfinished
        assert sum(len(row) for _group, row in job.pending.items()) == len(waiting), "no task is queued twice"
        for node_id, indexes in job.at.items():
            outstanding[node_id] += len(indexes)
            assert all(node_id in job.tasks[index].nodes for index in indexes)
        runs = [job.tasks[index].nodes for index in placed]
        assert sum(map(len, runs)) == sum(map(len, job.at.values())), "a task is where it is said to be"
        assert all(len(set(nodes)) == len(nodes) for nodes in runs), "and at no node twice"
        assert not job.options.at_most_once or all(len(nodes) == 1 for nodes in runs)
    assert outstanding == {node_id: worker.outstanding for node_id, worker in workers.items()}
