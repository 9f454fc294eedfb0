"""What the execution engine is told, and what it wants done. Workers, tasks and fetches go by the engine's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from ...overlay.errors import LimitExceeded, PotluckError
from ...overlay.parcels import Parcel
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.processes import Act
from ...overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput
from ...overlay.wire.work import (
    CancelInstructions,
    ExecutionConfirmation,
    Fault,
    Finished,
    Inline,
    InstructionAssignment,
    Payload,
    Reference,
    TaskComplete,
)
from ...overlay.wire.worker import LoadProgram, RunTask, TaskGoesOn, WarmUp, WithdrawTasks
from .printed import Piece
from .tasks import NOTHING_MORE, Opens, Task


@dataclass(frozen=True, slots=True)
class Assigned:
    """`owner` is whom the assigner's certificate says it belongs to; what the message says is not believed."""

    assigner: bytes
    owner: bytes
    message: InstructionAssignment


@dataclass(frozen=True, slots=True)
class CancelAsked:
    assigner: bytes
    message: CancelInstructions


@dataclass(frozen=True, slots=True)
class JobCompleted:
    assigner: bytes
    message: TaskComplete


@dataclass(frozen=True, slots=True)
class AssignerGone:
    assigner: bytes


@dataclass(frozen=True, slots=True)
class HandBack:
    """The node leaves: what has not begun goes back, and nothing new is taken, but what tasks submit that run here."""

    begun: bool = False
    """Everything goes back, what has begun too."""


@dataclass(frozen=True, slots=True)
class Fetched:
    fetch: int
    result: Inline | Parcel | PotluckError


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    worker: int
    guarantees: Guarantees


@dataclass(frozen=True, slots=True)
class WorkerNotStarted:
    worker: int
    reason: str


class Reply(NamedTuple):
    """A task's end, as its worker tells it."""

    task: int
    value: Payload | None = None
    fault: Fault | None = None
    pickled: bool = False
    elapsed_s: float = 0.0
    stdout: bytes = b""
    stderr: bytes = b""
    rest: Sequence[Piece] = ()
    """What it printed last, that has not been told as Printed."""
    with_files: bool = False


@dataclass(frozen=True, slots=True)
class WorkerReplied:
    """All that one read brought."""

    worker: int
    replies: Sequence[Reply]


@dataclass(frozen=True, slots=True)
class Printed:
    """By the task that runs there, while somebody waits for what it says."""

    worker: int
    pieces: Sequence[Piece]


@dataclass(frozen=True, slots=True)
class Saved:
    """The task that runs there has said what it is to go on from."""

    worker: int
    task: int
    state: bytes
    pickled: bool


@dataclass(frozen=True, slots=True)
class Waits:
    """The task that runs there does, for tasks that it has submitted."""

    worker: int
    task: int
    turn: int


@dataclass(frozen=True, slots=True)
class Wants:
    """It has what it waited for in this turn, and wants its slot again."""

    worker: int
    task: int
    turn: int


@dataclass(frozen=True, slots=True)
class Hungry:
    """The task that runs there has room for its standard input from this byte on."""

    worker: int
    offset: int


@dataclass(frozen=True, slots=True)
class Starved:
    """It cannot have what it asked for: an earlier attempt has had it."""

    worker: int


@dataclass(frozen=True, slots=True)
class InputCame:
    assigner: bytes
    message: InputPart


@dataclass(frozen=True, slots=True)
class OutputShown:
    assigner: bytes
    message: OutputTaken


@dataclass(frozen=True, slots=True)
class WorkerGone:
    """It has ended and nothing it started is left, whoever ended it. The output is the running task's."""

    worker: int
    how: str
    stdout: bytes = b""
    stderr: bytes = b""
    rest: Sequence[Piece] = ()
    passed: LimitExceeded | None = None
    """The limit that its task has passed, if that was why."""


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """Nothing of it runs."""

    worker: int


@dataclass(frozen=True, slots=True)
class Measured:
    """What the task that runs there has used so far, with all that it has started."""

    worker: int
    task: int
    cpu_s: float
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class ActAsked:
    """By a person, of processes by their numbers."""

    act: Act
    numbers: Sequence[int]


@dataclass(frozen=True, slots=True)
class Installed:
    """Other packages than before are."""


@dataclass(frozen=True, slots=True)
class OwnerSaid:
    """What is to become of what comes from elsewhere, and why."""

    act: Literal["hold", "go on", "hand back"]
    reason: str


@dataclass(frozen=True, slots=True)
class Tick:
    """Some deadline may have passed."""


Event = (
    Assigned
    | CancelAsked
    | JobCompleted
    | AssignerGone
    | HandBack
    | Fetched
    | WorkerStarted
    | WorkerNotStarted
    | WorkerReplied
    | Printed
    | OutputShown
    | Saved
    | Waits
    | Wants
    | Hungry
    | Starved
    | InputCame
    | WorkerGone
    | WorkerStopped
    | Measured
    | ActAsked
    | Installed
    | OwnerSaid
    | Tick
)


Sent = LoadProgram | RunTask | WithdrawTasks | TaskGoesOn | WarmUp


@dataclass(frozen=True, slots=True)
class StartWorker:
    """Answered by WorkerStarted or WorkerNotStarted."""

    worker: int
    sandbox: int
    """Index in the node's list of sandboxes."""
    opens: Opens = NOTHING_MORE


@dataclass(frozen=True, slots=True)
class Send:
    worker: int
    messages: list[Sent]
    parcels: dict[int, Parcel] = field(default_factory=dict)
    """What goes beside them, by the place of the message that has `Attached`."""


@dataclass(frozen=True, slots=True)
class KillWorker:
    """Answered by WorkerGone, or by WorkerNotStarted if it was still starting."""

    worker: int


@dataclass(frozen=True, slots=True)
class StopWorker:
    """With everything that it has started. Answered by WorkerStopped, unless it is gone first."""

    worker: int


@dataclass(frozen=True, slots=True)
class ResumeWorker:
    worker: int


@dataclass(frozen=True, slots=True)
class BindWorker:
    """With everything that it has started, to these cores; none: to all that there are. It stands still, has not begun,
    or goes on right after this."""

    worker: int
    cores: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Confirm:
    assigner: bytes
    message: ExecutionConfirmation


@dataclass(frozen=True, slots=True)
class Ended:
    """What has begun here, and how it ended."""

    runs: list[tuple[Task, Finished]]


@dataclass(frozen=True, slots=True)
class Say:
    """To a master, for whoever waits for a job's output or gives it input."""

    assigner: bytes
    message: TaskOutput | InputWanted


@dataclass(frozen=True, slots=True)
class Feed:
    """Its task's standard input; without a part, the task is there that wants it, or what it has asked for is lost."""

    worker: int
    part: InputPart | None = None


@dataclass(frozen=True, slots=True)
class RoomForOutput:
    """This worker's output may be read again."""

    worker: int


@dataclass(frozen=True, slots=True)
class Fetch:
    """Answered by Fetched."""

    fetch: int
    reference: Reference


@dataclass(frozen=True, slots=True)
class InstructionBegins:
    """An instruction of form `kind` begins to run."""

    arguments: Payload


Effect = (
    StartWorker
    | Send
    | KillWorker
    | StopWorker
    | ResumeWorker
    | BindWorker
    | Confirm
    | Ended
    | Say
    | RoomForOutput
    | Feed
    | Fetch
    | InstructionBegins
)
