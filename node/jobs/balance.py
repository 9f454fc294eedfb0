"""What idle nodes are given when nothing new is left for them: what waits elsewhere, then what takes too long there.

A node is given work ahead by what its tasks have taken so far; when they turn out longer, or another node comes or
falls idle, what waits there is asked back. It keeps what it has begun and returns the rest, so that nothing is begun
twice for it. A rule of pure functions: what is asked back is never what is known to run, goes to nobody who may not
run it, and leaves each node its share.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Final

from ...overlay.ids import NodeId
from ...overlay.wire.needs import NO_NEEDS
from .placement import Worker
from .queue import Group
from .task import Task
from .tasks import Job

STRAGGLES_AFTER_S: Final = 1.0
STRAGGLES_AFTER_MEANS: Final = 2.0


def idle_slots(workers: Iterable[Worker]) -> dict[NodeId, int]:
    """Slots with neither work nor anything that waits for them, by node."""
    free = ((worker.node_id, worker.slots - worker.foreign - worker.engaged) for worker in workers)
    return {node_id: count for node_id, count in free if count > 0}


def to_ask_back(
    job: Job, holder: Worker, idle: Mapping[NodeId, int], able: Callable[[Group], frozenset[NodeId]]
) -> list[Task]:
    """What the holder should return: the last of what waits there, in proportion to the slots that are free for it.
    A task behind those of other jobs and other masters waits, too; who waits without a slot is in nobody's way. What a
    person has moved there stays."""
    held = job.at[holder.node_id]
    others = holder.foreign + holder.engaged - len(held)
    left_for_it = max(0, holder.slots - others)
    if len(held) <= left_for_it:
        return []
    tasks_held = [job.tasks[index] for index in sorted(held)]
    if any(task.asked_back and not task.started for task in tasks_held):
        return []  # it has not answered yet
    waiting: dict[Group, list[Task]] = {}
    for task in tasks_held[left_for_it:]:  # the first are what it runs, as far as is known here
        if task.node == holder.node_id and not task.started and not task.moved:
            waiting.setdefault((task.program, task.kind), []).append(task)
    chosen: list[Task] = []
    for group, tasks in waiting.items():
        free = sum(count for node_id, count in idle.items() if node_id in able(group))
        share = -(-len(tasks) * free // (free + holder.slots))  # rounded up: one that waits alone goes
        chosen += tasks[len(tasks) - share :]
    return chosen


def stragglers(job: Job, now_s: float) -> list[Task]:
    """Tasks at the job's tail that run for much longer than others have, the longest first (Dean and Ghemawat,
    MapReduce, 2004, §3.6). None where somebody would notice that they run twice: who may run once only, who is read
    from or listened to, who has submitted tasks."""
    options = job.options
    if job.pending or options.at_most_once or options.streams_output or options.takes_input:
        return []
    if options.needs != NO_NEEDS:  # a free slot may not have what it needs beside what runs there
        return []
    late: list[tuple[float, int]] = []
    for task in job.tasks.values():
        mean_s = job.programs[task.program].mean_s
        if task.started_s is None or task.copy is not None or mean_s is None or task.is_parent:
            continue
        if now_s - task.started_s > max(STRAGGLES_AFTER_S, STRAGGLES_AFTER_MEANS * mean_s):
            late.append((task.started_s, task.index))
    return [job.tasks[index] for _, index in sorted(late)]


def freest(idle: Mapping[NodeId, int], able: Iterable[NodeId]) -> NodeId | None:
    """Who of those that are able has most free slots; ties: lower id."""
    free = [(-count, node_id) for node_id in able if (count := idle.get(node_id, 0)) > 0]
    return min(free)[1] if free else None
