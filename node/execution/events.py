"""What the execution engine is told, and what it wants done. Workers, tasks and fetches go by the engine's numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

from msgspec import Struct

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
    TasksSought,
)
from ...overlay.wire.worker import LoadProgram, RunTask, TaskGoesOn, WarmUp, WithdrawTasks
from .printed import Piece
from .tasks import NOTHING_MORE, Opens, Task


class Assigned(Struct, frozen=True):
    """`owner` is whom the assigner's certificate says it belongs to; what the message says is not believed."""

    assigner: bytes
    owner: bytes
    message: InstructionAssignment


class CancelAsked(Struct, frozen=True):
    assigner: bytes
    message: CancelInstructions


class JobCompleted(Struct, frozen=True):
    assigner: bytes
    message: TaskComplete


class AssignerGone(Struct, frozen=True):
    assigner: bytes


class Disowned(Struct, frozen=True):
    """An orphaned job will get no master."""

    owner: bytes
    job: str


class Forsaken(Struct, frozen=True):
    """No master of the mesh will ask this node for anything any more."""


class Outlawed(Struct, frozen=True):
    """These owners are banned: nothing of theirs runs here any more."""

    owners: frozenset[bytes]


class Sought(Struct, frozen=True):
    """By whoever is the job's master from now on."""

    assigner: bytes
    owner: bytes
    message: TasksSought


class HandBack(Struct, frozen=True):
    """The node leaves: what has not begun goes back, and nothing new is taken, but what tasks submit that run here."""

    begun: bool = False
    """Everything goes back, what has begun too."""


class Fetched(Struct, frozen=True):
    fetch: int
    result: Inline | Parcel | PotluckError


class WorkerStarted(Struct, frozen=True):
    worker: int
    guarantees: Guarantees


class WorkerNotStarted(Struct, frozen=True):
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
    no_room: bool = False
    """It has a value, and there is no room for that now; the fault says so."""


class WorkerReplied(Struct, frozen=True):
    """All that one read brought."""

    worker: int
    replies: Sequence[Reply]


class Printed(Struct, frozen=True):
    """By the task that runs there, while somebody waits for what it says."""

    worker: int
    pieces: Sequence[Piece]


class Saved(Struct, frozen=True):
    """The task that runs there has said what it is to go on from."""

    worker: int
    task: int
    state: bytes
    pickled: bool


class Waits(Struct, frozen=True):
    """The task that runs there does, for tasks that it has submitted."""

    worker: int
    task: int
    turn: int


class Wants(Struct, frozen=True):
    """It has what it waited for in this turn, and wants its slot again."""

    worker: int
    task: int
    turn: int


class Hungry(Struct, frozen=True):
    """The task that runs there has room for its standard input from this byte on."""

    worker: int
    offset: int


class Starved(Struct, frozen=True):
    """It cannot have what it asked for: an earlier attempt has had it."""

    worker: int


class InputCame(Struct, frozen=True):
    assigner: bytes
    message: InputPart


class OutputShown(Struct, frozen=True):
    assigner: bytes
    message: OutputTaken


class WorkerGone(Struct, frozen=True):
    """It has ended and nothing it started is left, whoever ended it. The output is the running task's."""

    worker: int
    how: str
    stdout: bytes = b""
    stderr: bytes = b""
    rest: Sequence[Piece] = ()
    passed: LimitExceeded | None = None
    """The limit that its task has passed, if that was why."""


class WorkerStopped(Struct, frozen=True):
    """Nothing of it runs."""

    worker: int


class Measured(Struct, frozen=True):
    """What the task that runs there has used so far, with all that it has started."""

    worker: int
    task: int
    cpu_s: float
    memory_bytes: int


class ActAsked(Struct, frozen=True):
    """By a person, of processes by their numbers."""

    act: Act
    numbers: Sequence[int]


class Installed(Struct, frozen=True):
    """Other packages than before are."""


class OwnerSaid(Struct, frozen=True):
    """What is to become of what comes from elsewhere, and why."""

    act: Literal["hold", "go on", "hand back"]
    reason: str


class Tick(Struct, frozen=True):
    """Some deadline may have passed."""


Event = (
    Assigned
    | CancelAsked
    | JobCompleted
    | AssignerGone
    | Disowned
    | Forsaken
    | Outlawed
    | Sought
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


class StartWorker(Struct, frozen=True):
    """Answered by WorkerStarted or WorkerNotStarted."""

    worker: int
    sandbox: int
    """Index in the node's list of sandboxes."""
    opens: Opens = NOTHING_MORE


class Send(Struct, frozen=True):
    worker: int
    messages: list[Sent]
    parcels: dict[int, Parcel] = {}
    """What goes beside them, by the place of the message that has `Attached`."""


class KillWorker(Struct, frozen=True):
    """Answered by WorkerGone, or by WorkerNotStarted if it was still starting."""

    worker: int


class StopWorker(Struct, frozen=True):
    """With everything that it has started. Answered by WorkerStopped, unless it is gone first."""

    worker: int


class ResumeWorker(Struct, frozen=True):
    worker: int


class BindWorker(Struct, frozen=True):
    """With everything that it has started, to these cores; none: to all that there are. It stands still, has not begun,
    or goes on right after this."""

    worker: int
    cores: tuple[int, ...]


class Confirm(Struct, frozen=True):
    assigner: bytes
    message: ExecutionConfirmation


class LetGo(Struct, frozen=True):
    """Long payloads that nobody here needs any more. The list is whoever's that carries this out."""

    parcels: list[Parcel]


class Ended(Struct, frozen=True):
    """What has begun here, and how it ended."""

    runs: list[tuple[Task, Finished]]


class Say(Struct, frozen=True):
    """To a master, for whoever waits for a job's output or gives it input."""

    assigner: bytes
    message: TaskOutput | InputWanted


class Feed(Struct, frozen=True):
    """Its task's standard input; without a part, the task is there that wants it, or what it has asked for is lost."""

    worker: int
    part: InputPart | None = None


class RoomForOutput(Struct, frozen=True):
    """This worker's output may be read again."""

    worker: int


class Fetch(Struct, frozen=True):
    """Answered by Fetched."""

    fetch: int
    reference: Reference


class InstructionBegins(Struct, frozen=True):
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
    | LetGo
    | Ended
    | Say
    | RoomForOutput
    | Feed
    | Fetch
    | InstructionBegins
)
