"""What a master remembers: jobs, their programs and the tasks that have no outcome yet. No decisions."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

import msgspec

from ...overlay.ids import NodeId
from ...overlay.wire.control import JobOptions, TaskSpec
from ...overlay.wire.work import Lineage, Program
from .bales import Bale, fits_a_bale
from .queue import Group, Queue
from .task import Task


class ProgramState(msgspec.Struct):
    program: Program
    without_body: Program
    """The same, for nodes that know it already."""
    mean_s: float | None = None
    known_at: set[NodeId] = set()
    impossible_at: dict[NodeId, str] = {}
    """Nodes that lack what it refers to, and what that is."""


class Origin(msgspec.Struct, frozen=True):
    """Of a job that a task on this node has submitted."""

    lineage: Lineage
    owner: bytes
    """Of that task."""
    as_guest: bool
    """He is not this node's: nothing of this may run where only its own owner's tasks may."""


class Job(msgspec.Struct):
    job_id: str
    epoch: int
    options: JobOptions
    tasks: dict[int, Task]
    """Those without an outcome; of those that lie in bales, ask `holds`, `indexes` and `unfinished`."""
    programs: dict[bytes, ProgramState]
    pending: Queue
    origin: Origin | None = None
    """None: a program has submitted it."""
    submitted_s: float = 0.0
    """Mesh time."""
    on_hold: bool = False
    """What runs of it elsewhere is being asked for."""
    total: int = 0
    """Tasks ever submitted."""
    beyond: int = 0
    """No task has had an index so large, or larger."""
    resting: dict[int, float] = {}
    """Tasks that failed or could not be begun, by index, and when they are tried again."""
    at: dict[NodeId, set[int]] = {}
    """Indexes assigned to each node that has ever been given a task of this job."""
    refused_by: dict[NodeId, str] = {}
    refused_until_s: dict[NodeId, float] = {}
    """Of those, where they may have another mind soon."""

    @property
    def losses_max(self) -> int:
        """Of one task, before it is given up."""
        return 0 if self.options.at_most_once else self.options.retries

    @property
    def is_due(self) -> bool:
        """Whether some of its tasks want to be placed."""
        return not self.on_hold and bool(self.pending)

    @property
    def unfinished(self) -> int:
        return len(self.tasks) + self.pending.count_baled

    def indexes(self) -> Iterator[int]:
        """Of all without an outcome."""
        yield from self.tasks
        for baled in self.pending.baled():
            yield from baled

    def holds(self, index: int) -> bool:
        return index in self.tasks or (index < self.beyond and any(index in baled for baled in self.pending.baled()))

    def is_given(self, index: int, node_id: NodeId) -> bool:
        """Whether this master has given it to that node, now or before."""
        task = self.tasks.get(index)
        return task is not None and task.may_be_answered_by(node_id)

    def take_in(self, program: bytes, specs: Sequence[TaskSpec], loose_max: int) -> None:
        """New tasks at the end of their row, in a bale where so many are before them. What is known is left."""
        before = self.pending.count((program, specs[0].kind)) if specs else 0
        if before >= max(loose_max, 1) and specs[0].index >= self.beyond and fits_a_bale(specs):
            self.pending.put_up((program, specs[0].kind), Bale(program, specs))
            self.total += len(specs)
            self.beyond = specs[-1].index + 1
            return
        for spec in specs:
            if not self.holds(spec.index):
                task = self.tasks[spec.index] = Task(program, spec)
                self.pending.append((program, spec.kind), task)
                self.total += 1
                self.beyond = max(self.beyond, spec.index + 1)

    def loosen(self, indexes: Collection[int]) -> None:
        """Has them among `tasks`, if they have no outcome."""
        self.pending.loosen(indexes)

    def rested(self, now_s: float) -> list[Task]:
        """Takes out the tasks that have."""
        over = [index for index, until_s in self.resting.items() if until_s <= now_s]
        for index in over:
            del self.resting[index]
        return [self.tasks[index] for index in over]

    def forget_refusals(self, now_s: float) -> None:
        """That are old."""
        for node_id in [node_id for node_id, until_s in self.refused_until_s.items() if until_s <= now_s]:
            self.welcome(node_id)

    def welcome(self, node_id: NodeId) -> None:
        """It may be asked whatever it has said."""
        self.refused_by.pop(node_id, None)
        self.refused_until_s.pop(node_id, None)

    def impatient(self, group: Group) -> list[Task]:
        """Takes out of their row all but those that stand still: these can wait for their node for as long as nobody
        says otherwise; not for one that is there and does not take them."""
        given_up: list[Task] = []
        for task in self.pending.pop(group):
            if task.suspended and self.refused_by.keys().isdisjoint(task.earlier):
                self.tasks[task.index] = task  # it may come out of a bale
                self.pending.append(group, task)
            else:
                given_up.append(task)
        return given_up


def by_urgency(jobs: Iterable[Job]) -> list[Job]:
    """Higher priority first; of equals whoever came first."""
    return sorted(jobs, key=lambda job: -job.options.priority)
