"""What a job's log says has happened."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from ...overlay.errors import Cancelled, RemoteProtocolError
from ...overlay.wire.control import TaskSpec
from ...overlay.wire.joblog import Added, Came, Ended, Entry, Given, Opened, Sealed
from ...overlay.wire.work import Finished, Program
from .outcomes import Outcomes


class Counts(msgspec.Struct):
    """How a job stands, without its tasks: what is kept in memory of every job."""

    opened: Opened | None = None
    tasks: int = 0
    ended: int = 0
    failed: int = 0
    cancelled: int = 0
    sealed: bool = False
    ended_s: float = 0.0
    """Mesh time of the last task's end."""
    run_s: float = 0.0
    """Of all its tasks together."""
    nodes: Counter[str] = msgspec.field(default_factory=Counter)
    """Tasks that each has run, by name."""

    def take(self, entry: Entry) -> None:
        match entry:
            case Opened():
                self.opened = entry
            case Added(_, tasks):
                self.tasks += len(tasks)
            case Sealed():
                self.sealed = True
            case Ended(node, _, reports, at_s):
                self.ended_s = max(self.ended_s, at_s)
                for report in reports:
                    self._end(report)
                if node:
                    self.nodes[node] += len(reports)

    def _end(self, report: Finished) -> None:
        self.ended += 1
        self.run_s += report.elapsed_s
        self.ended_s = max(self.ended_s, report.started_s + report.elapsed_s)
        if report.fault is not None:
            if report.fault.code == Cancelled.wire_code:
                self.cancelled += 1
            else:
                self.failed += 1

    @property
    def over(self) -> bool:
        return self.sealed and self.ended == self.tasks

    @property
    def state(self) -> str:
        if not self.over:
            return "running" if self.ended else "pending" if self.sealed else "submitted"
        return "failed" if self.failed else "cancelled" if self.cancelled else "completed"


class Story(msgspec.Struct):
    """Everything that a new master needs to go on."""

    opened: Opened
    programs: dict[bytes, Program] = {}
    """In the order in which they were added: what others need comes first."""
    tasks: dict[int, tuple[bytes, TaskSpec]] = {}
    """By index, those without an outcome: program and specification."""
    given: dict[int, str] = {}
    """Those of them that may have begun and must not run twice, and where."""
    outcomes: Outcomes = msgspec.field(default_factory=Outcomes)
    sealed: bool = False
    came: dict[int, int] = {}
    """Of those without an outcome that have a checkpoint, which entry has the last."""

    def take(self, number: int, came: Came) -> None:
        program, spec = self.tasks[came.index]
        checkpoint = came.checkpoint or spec.checkpoint
        spec = msgspec.structs.replace(spec, suspended=came.suspended, checkpoint=checkpoint)
        self.tasks[came.index] = program, spec
        if came.checkpoint is not None:
            self.came[came.index] = number


def story_of(entries: Iterable[Entry]) -> Story:
    """Raises RemoteProtocolError for what no master of ours has written: tasks are numbered in turn, and end later."""
    told = enumerate(entries)
    _, opened = next(told, (0, None))
    if not isinstance(opened, Opened):
        raise RemoteProtocolError("the log of a job does not say whose it is")
    story = Story(opened)
    added = 0
    for number, entry in told:
        match entry:
            case Added(program, tasks):
                if program.body is not None or program.program_id not in story.programs:
                    story.programs[program.program_id] = program
                if any(task.index != index for index, task in enumerate(tasks, added)):
                    raise RemoteProtocolError("the log of a job skips tasks")
                added += len(tasks)
                story.tasks |= {task.index: (program.program_id, task) for task in tasks}
            case Given(indexes, node):
                story.given |= dict.fromkeys((index for index in indexes if index in story.tasks), node)
            case Ended(_, _, reports):
                for report in reports:
                    if report.index >= added:
                        raise RemoteProtocolError("the log of a job has an outcome of no task")
                    story.outcomes.note(report.index, number)
                    story.tasks.pop(report.index, None)
                    story.given.pop(report.index, None)
                    story.came.pop(report.index, None)
            case Came(index) if index in story.tasks:
                story.take(number, entry)
            case Sealed():
                story.sealed = True
    return story
