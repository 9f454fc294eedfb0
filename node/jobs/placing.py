"""The part of a master's engine that gives tasks out: who gets which when there is room, and what idle nodes do."""

from __future__ import annotations

import random
from collections.abc import Hashable, Iterable, Mapping
from functools import cache

from ...overlay.config import Jobs as JobsConfig
from ...overlay.ids import NodeId
from .assigning import assignments, cancellations
from .balance import freest, idle_slots, stragglers, to_ask_back
from .effects import Assign, CancelAt, Effect
from .placement import Requirements, Worker, candidates, room, spread, tasks_per_slot
from .queue import Group, Line
from .requirements import requirements_of
from .task import Task
from .tasks import Job, ProgramState, by_urgency


class Placing:
    """`workers` and `jobs` are the master's own tables."""

    def __init__(
        self,
        config: JobsConfig,
        python: str,
        chance: random.Random,
        workers: Mapping[NodeId, Worker],
        jobs: Mapping[str, Job],
    ) -> None:
        self._config = config
        self._python = python
        self._chance = chance
        self._workers = workers
        self._jobs = jobs

    def place(self, now_s: float) -> list[Effect]:
        """Gives out what can be given out now: higher priority first, then older jobs."""
        effects: list[Effect] = []
        for job in by_urgency(job for job in self._jobs.values() if job.is_due):
            full: list[Line] = []
            while (line := job.pending.next_line(full)) is not None:
                group = line.first
                effects += self._place_group(now_s, job, line)
                if group in line.groups:
                    full.append(line)
        return effects

    def ask(self, programs: Mapping[bytes, ProgramState], group: Group) -> Hashable:
        """Equal for groups of one job for which the same nodes have room."""
        state = programs[group[0]]
        form, python, per_slot = state.program.form, state.program.python, self._per_slot(state)
        return group[1], form, python, frozenset(state.impossible_at), per_slot

    def _per_slot(self, state: ProgramState) -> int:
        return tasks_per_slot(state.mean_s, self._config.window_s, self._config.window_max)

    def give(self, job: Job, node_id: NodeId, tasks: list[Task], *, known_only: bool = False) -> list[Assign]:
        """Tasks that say already that they are there."""
        worker = self._workers[node_id]
        worker.outstanding += len(tasks)
        worker.assigned += len(tasks)
        job.at.setdefault(node_id, set()).update(task.index for task in tasks)
        return assignments(job, node_id, tasks, known_only=known_only)

    def use_idle(self, now_s: float) -> list[Effect]:
        """Of slots that nobody has anything new for: what waits elsewhere comes first, then what takes too long."""
        idle = idle_slots(self._workers.values())
        effects: list[Effect] = []
        jobs = by_urgency(self._jobs.values()) if idle else []
        for job in jobs:
            effects += self._ask_back(job, idle)
        for job in jobs if not effects else ():
            effects += self._run_twice(now_s, job, idle)
        return effects

    def able(self, job: Job, group: Group) -> frozenset[NodeId]:
        return frozenset(worker.node_id for worker in candidates(self._workers, self.requirements(job, group)))

    def requirements(self, job: Job, group: Group) -> Requirements:
        return requirements_of(job, group, self._python)

    def _place_group(self, now_s: float, job: Job, line: Line) -> Iterable[Effect]:
        """The first of its line."""
        group = line.first
        able = candidates(self._workers, self.requirements(job, group))
        if not able:
            job.pending.note_unplaceable(line, now_s)
            return []
        job.pending.note_placeable(line)
        per_slot = self._per_slot(job.programs[group[0]])
        free: dict[NodeId, int] = {}
        for worker in able:
            size = worker.slots * per_slot
            here = len(job.at.get(worker.node_id, ()))
            free[worker.node_id] = room(worker, job.options.needs, here, size, nested=job.origin is not None)
        effects: list[Assign] = []
        for node_id, count in spread(job.pending.count(group), able, free, self._chance).items():
            tasks = job.pending.take(group, count)
            for task in tasks:
                task.node = node_id
            effects += self.give(job, node_id, tasks)
        return effects

    def _ask_back(self, job: Job, idle: dict[NodeId, int]) -> Iterable[Effect]:
        effects: list[CancelAt] = []
        able = cache(lambda group: self.able(job, group))
        for node_id in job.at:
            worker = self._workers.get(node_id)
            tasks = to_ask_back(job, worker, idle, able) if worker is not None and node_id not in idle else []
            for task in tasks:
                task.asked_back = True
            effects += cancellations(job, node_id, [task.index for task in tasks], unbegun_only=True)
        return effects

    def _run_twice(self, now_s: float, job: Job, idle: dict[NodeId, int]) -> Iterable[Effect]:
        effects: list[Assign] = []
        able = cache(lambda group: self.able(job, group))
        for task in stragglers(job, now_s):
            node_id = freest(idle, able((task.program, task.kind)) - {*task.nodes, *task.earlier})
            if node_id is None:
                continue
            idle[node_id] -= 1
            task.copy = node_id
            effects += self.give(job, node_id, [task])
        return effects
