"""What the execution engine remembers: jobs, their programs and tasks, and the workers leased to them. No decisions."""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from typing import Final, Literal, NamedTuple

import msgspec

from ...overlay.errors import TaskFailed
from ...overlay.parcels import Parcel
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.limits import Limits
from ...overlay.wire.needs import NO_NEEDS, Needs
from ...overlay.wire.work import Checkpoint, Fault, Finished, Inline, Lineage, Program
from ..processes.process import UNKNOWN, Origin, Process
from .outgoing import Outgoing

MEAN_WEIGHT: Final = 0.2
REPORTS_KEPT: Final = 65_536
REPORT_BYTES_KEPT: Final = 32 << 20
"""Of finished tasks, per job, so that a repeated assignment is answered. Older ones would be run again."""


class Numbers:
    """Of tasks, programs and fetches; none is given twice."""

    def __init__(self) -> None:
        self._last = 0

    def next(self) -> int:
        self._last += 1
        return self._last


class Opens(NamedTuple):
    """What a worker reaches that others do not."""

    gpus: tuple[int, ...] = ()
    """By their numbers here."""
    network: bool = False


NOTHING_MORE: Final = Opens()


class Lease(msgspec.Struct, eq=False):
    """Whom a sandbox serves for its life: one job of one owner, and the jobs that tasks of it submit."""

    workers: dict[int, Worker] = {}
    programs: dict[bytes, ProgramState] = {}
    """Of all these jobs, so that what one has loaded the next has, too."""
    jobs: int = 0
    """How many are here."""
    used_once: bool = False
    """Each worker runs one task: it can be fed no second time."""

    @property
    def is_served(self) -> bool:
        """What waits has somebody to wait for, also where no other worker can be started."""
        return any(worker.ready and not worker.dying for worker in self.workers.values())


class ProgramState(msgspec.Struct, eq=False):
    """A program of one job. `number` is what workers know it by."""

    number: int
    program: Program
    body: Inline | Parcel | None
    """None while it is being fetched."""
    libraries: tuple[ProgramState, ...] = ()
    """To be importable before it is loaded."""
    waiting: list[Task] = []
    """For this very body."""
    mean_s: float | None = None
    """Exponentially smoothed run time of its tasks."""

    @property
    def missing(self) -> ProgramState | None:
        """What of it is still being fetched."""
        return next((state for state in (*self.libraries, self) if state.body is None), None)

    def ran(self, elapsed_s: float) -> None:
        self.mean_s = elapsed_s if self.mean_s is None else self.mean_s + MEAN_WEIGHT * (elapsed_s - self.mean_s)


class Task(msgspec.Struct, eq=False):
    """fetching → ready → in a worker's pipe → at its head, where it is taken to run ⇄ stopped and ready → finished."""

    key: int
    job: Job
    program: ProgramState
    index: int
    attempt: int
    arguments: Inline | Parcel | None
    priority: int
    timeout_s: float | None
    may_pickle: bool
    process: Process
    depth: int = 0
    """How many tasks, each submitted by the one before, have led to it."""
    worker: Worker | None = None
    begun_s: float | None = None
    """When it came to the head of a ready worker's pipe."""
    turn_s: float | None = None
    """Since when it runs without having been stopped."""
    slice_ends_s: float = math.inf
    stopped_s: float = 0.0
    stood_s: float = 0.0
    """How long it has stood still, pre-empted or suspended."""
    was_ready: bool = False
    """When it was suspended: nothing of it had to be fetched."""
    charged_s: float = 0.0
    """Of CPU time, to whoever it is run for."""
    yields: bool = False
    """It stands still for the machine's owner."""
    noticed: bool = False
    """Whether its master knows that it has begun."""
    is_parent: bool = False
    """It has waited for tasks that it has submitted; its master knows."""
    estimate_s: float | None = None
    """How long it will run, where its submitter has said so; else it is learned."""
    checkpoint: Checkpoint | None = None
    """The newest: of an earlier run, or its own."""
    told_s: float = -math.inf
    """When its master was told of one."""
    moves: bool = False
    """Its worker is being ended so that it goes on elsewhere."""
    streamed: bool = False
    """Some of its output has gone home: then all of it does, before its end is told."""

    @property
    def submitter(self) -> bytes:
        return self.job.owner

    @property
    def function(self) -> bytes:
        return self.program.program.program_id


class Job(msgspec.Struct, eq=False):
    """`name` at `owner`. The assigner is the master of the newest epoch seen."""

    owner: bytes
    name: str
    assigner: bytes
    epoch: int
    sandbox: int | None
    """Which sandbox its tasks run in; None: none here may run them."""
    whose: bytes = b""
    """For whom its master gives it out: `owner`, or whoever's task has submitted it there."""
    lineage: Lineage | None = None
    """Where it comes from, if a task has submitted it."""
    lease: Lease = msgspec.field(default_factory=Lease)
    origin: Origin = UNKNOWN
    """What their processes are shown with."""
    tasks: dict[int, Task] = {}
    programs: dict[bytes, ProgramState] = {}
    reports: OrderedDict[int, Finished] = msgspec.field(default_factory=OrderedDict)
    report_bytes: int = 0
    outgoing: Outgoing | None = None
    """Where the output of its tasks goes, if somebody waits for it."""
    takes_input: bool = False
    """Each of its workers is fed once, and so runs one task."""
    limits: Limits = msgspec.field(default_factory=Limits)
    network: bool = False
    """Its tasks may use the machine's."""
    purse: bytes = b""
    """Whose quota of memory it comes out of."""
    needs: Needs = NO_NEEDS
    """What is set aside for each of its tasks."""
    at_most_once: bool = False
    confidential: bool = False
    """Nothing that leaves this node tells of it."""
    lasting: bool = False
    """When its master is gone there will be another."""
    orphaned_s: float | None = None
    """Since when it has no master."""

    @property
    def depth(self) -> int:
        return 0 if self.lineage is None else self.lineage.depth

    @property
    def root(self) -> str:
        """The job that a program has submitted, from which it comes."""
        return self.name if self.lineage is None else self.lineage.root

    @property
    def is_followed(self) -> bool:
        """Whether a program talks with its tasks while they run."""
        return self.outgoing is not None or self.takes_input

    def is_outranked(self, assigner: bytes, epoch: int) -> bool:
        """Whether that master of that epoch has been followed by another. Of two nodes, either may have gone on alone
        under a later epoch, and given way again: without a master, whoever comes is obeyed."""
        if self.orphaned_s is not None:
            return False
        return epoch < self.epoch or (epoch == self.epoch and assigner != self.assigner)

    def obey(self, assigner: bytes, epoch: int) -> bool:
        """Whether that is another master, who counts attempts from the beginning: what runs goes on for it, and what
        is done is its answer. What an earlier one has had cancelled, or lost with a worker, it may want to have done.
        """
        self.orphaned_s = None
        is_another = (assigner, epoch) != (self.assigner, self.epoch)
        if is_another:
            if self.outgoing is not None:
                ended = {index: report.attempt for index, report in self.reports.items()}
                self.outgoing.begin_anew(ended | {index: task.attempt for index, task in self.tasks.items()})
            for task in self.tasks.values():
                task.attempt = 0
            for report in list(self.reports.values()):
                self.forget(report.index)
                if report.fault is None or report.fault.code == TaskFailed.wire_code:
                    self.remember(msgspec.structs.replace(report, attempt=0))
        self.epoch, self.assigner = epoch, assigner
        return is_another

    def forget_program(self, state: ProgramState) -> None:
        """It cannot be had: nor can what needs it."""
        for programs in (self.programs, self.lease.programs):
            for known in list(programs.values()):
                if known is state or state in known.libraries:
                    del programs[known.program.program_id]

    def remember(self, report: Finished) -> None:
        self.forget(report.index)
        self.reports[report.index] = report
        self.report_bytes += _size(report)
        while len(self.reports) > REPORTS_KEPT or self.report_bytes > REPORT_BYTES_KEPT:
            self.report_bytes -= _size(self.reports.popitem(last=False)[1])

    def forget(self, index: int) -> None:
        if (known := self.reports.pop(index, None)) is not None:
            self.report_bytes -= _size(known)


def is_current(task: Task) -> bool:
    """Whether it will still be confirmed."""
    return task.job.tasks.get(task.index) is task


def _size(report: Finished) -> int:
    value = len(report.value.data) if isinstance(report.value, Inline) else 0
    return 200 + value + len(report.stdout) + len(report.stderr)


class Worker(msgspec.Struct, eq=False):
    """A process in a sandbox: starting, then spare or leased, and once it is `dying` it does nothing more for us."""

    number: int
    sandbox: int
    lease: Lease | None = None
    """Whom it serves, for its whole life once it has begun to."""
    ready: bool = False
    dying: bool = False
    active: bool = False
    """It holds a slot."""
    stands: Literal["waiting", "resuming"] | None = None
    """What its task does instead of running; see `standing`."""
    turn: int = 0
    """How often it has waited."""
    stopped: bool = False
    """Its task was pre-empted, and is ready: all of it stands still, or is about to."""
    held: bool = False
    """Its task is suspended: all of it stands still, or is about to."""
    stopping: bool = False
    """It was told to stand still, and has not said that it does."""
    opens: Opens = NOTHING_MORE
    """From its start to its end."""
    cores: tuple[int, ...] = ()
    """That it has to itself while it holds slots."""
    bound: tuple[int, ...] = ()
    """To which it was bound last; none: to all."""
    granted: int | None = None
    """The process for whose task it was given what it has: that is free once this worker is gone."""
    guarantees: Guarantees = msgspec.field(default_factory=Guarantees)
    pipe: deque[Task] = msgspec.field(default_factory=deque)
    programs: set[int] = set()
    withdrawn: set[int] = set()
    served: int = 0
    """Tasks that have ended by themselves."""
    settled_bytes: int | None = None
    """What it had when the first of them that was looked at was over."""
    worn: bool = False
    """It is given no more, and ended when it has nothing to do; see `wear`."""
    warmed: bool = False
    """It was told to import packages."""
    condemned: tuple[Task, Fault] | None = None
    """The task it was killed for, reported when it is gone."""

    @property
    def starting(self) -> bool:
        return not (self.ready or self.dying)

    @property
    def goes(self) -> bool:
        """It has a task at the head of its pipe, and that is not stopped."""
        return self.ready and bool(self.pipe) and not (self.dying or self.stopped or self.held)
