"""Work between a master and its workers. Every message names the job's epoch: an older one is not obeyed."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from .capabilities import Guarantees, Kind
from .codec import Count, Digest, LongText, Message, Priority, RawId, Real, RequestId, ShortText, Span
from .limits import Limits
from .needs import NO_NEEDS, Needs

ObjectId = Annotated[bytes, Meta(min_length=16, max_length=16)]
JobName = Annotated[str, Meta(min_length=1, max_length=64)]
BUFFERS_MAX = 4096
Buffers = Annotated[list[bytes], Meta(max_length=BUFFERS_MAX)]

INLINE_BYTES_MAX = 64 << 10
"""A longer payload travels by reference on a bulk connection, so that control never waits behind it."""


class Inline(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0):
    """A payload by value: an in-band part and its out-of-band buffers (PEP 574)."""

    data: bytes
    buffers: Buffers = []

    @property
    def size_bytes(self) -> int:
        return len(self.data) + sum(map(len, self.buffers))


class Attached(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """A payload on its way between processes of one machine: the next parcel that comes beside the frames."""

    size_bytes: Count


class Reference(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    """A payload that lies at `holder`, to be fetched with ObjectWant. The object is an `Inline` as `layout` has it."""

    object_id: ObjectId
    size_bytes: Count
    holder: RawId


Payload = Inline | Reference

ProgramForm = Literal["callable", "function", "script", "kind", "library", "setting"]

LIBRARIES_MAX = 256
MODULES_MAX = 256


class Program(msgspec.Struct, frozen=True, array_like=True):
    """What to run.

    callable   body: cloudpickle of a callable; arguments: cloudpickle of (args, kwargs)
    function   body: source text, `entry` the function in it; arguments: a `values` list of [args, kwargs]
    script     body: source text run as `__main__`; arguments: a `values` list of argv
    kind       no body: the node's handler for the instruction's kind; arguments: the `values` instruction
    library    body: a dict of relative path to content, one importable module or package; has no tasks of its own
    setting    body: a `setting.Setting`, for all tasks of the job; has no tasks of its own
    """

    program_id: Digest
    form: ProgramForm
    entry: ShortText = ""
    file_name: ShortText = ""
    body: Payload | None = None
    """None when the worker has it already; a worker that has not answers `program_missing`."""
    libraries: Annotated[list[Digest], Meta(max_length=LIBRARIES_MAX)] = []
    """Programs of the job without tasks, which this one needs; each is assigned before, with no instructions."""
    modules: Annotated[list[ShortText], Meta(max_length=MODULES_MAX)] = []
    """Top-level names of installed ones that a callable refers to: where one is missing, it cannot even be opened."""
    python: ShortText = ""
    """Minor version of the Python that has pickled a callable."""


CHECKPOINT_BYTES_MAX = 256 << 10
"""As much as a task's end says of its output: it travels among the messages, and each replaces the one before."""


class Checkpoint(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a task has said to go on from. No node opens it: only sandboxes of the task's own job do."""

    number: Count
    """1 for the first of a task; whoever goes on from one counts on."""
    state: Annotated[bytes, Meta(max_length=CHECKPOINT_BYTES_MAX)]
    pickled: bool = False
    """Else it is a `values` encoding."""


class Instruction(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Count
    arguments: Payload
    kind: Kind = ""
    attempt: Count = 0
    checkpoint: Checkpoint | None = None
    """To go on from; None: from the beginning."""
    suspended: bool = False
    """It is to stand still until somebody says otherwise."""


class Lineage(msgspec.Struct, frozen=True, array_like=True):
    """Of a job that a task has submitted."""

    parent: ShortText
    """That task, as JOB/INDEX."""
    root: JobName
    """The job that a program has submitted, from which all this comes."""
    depth: Count
    """1 for what a task of that job submits, 2 for what a task of such a job does, …"""


class InstructionAssignment(Message, frozen=True, tag=20):
    """Master → worker. Repeated (job, index, attempt) is answered, not run again. Answer: EXECUTION_CONFIRMATION."""

    job: JobName
    epoch: Count
    program: Program
    instructions: Annotated[list[Instruction], Meta(max_length=65_536)]
    timeout_s: Span | None = None
    priority: Priority = 0
    trust_results: bool = False
    """The submitter opens pickled results of this job whoever ran it."""
    owner: Annotated[bytes, Meta(max_length=20)] = b""
    """Whose work it is, where that is not the owner of the master's certificate: tasks that somebody else's task has
    submitted there. It may lessen what they may do, and never adds to it."""
    known_only: bool = False
    """Said again, of tasks that must not run twice: those that are not known here any more are answered as lost."""
    streams_output: bool = False
    """Somebody waits for what tasks print while they run: it is sent as TaskOutput."""
    takes_input: bool = False
    """Scripts have a standard input, to be asked for with InputWanted."""
    lineage: Lineage | None = None
    limits: Limits = Limits()
    process_type: ShortText = ""
    """What kind of process its tasks are, for whoever looks at them."""
    estimate_s: Span | None = None
    """How long each will run, where somebody has said so."""
    needs: Needs = NO_NEEDS
    """What is set aside for each of its tasks."""
    at_most_once: bool = False
    """What has begun here is begun nowhere else, unless it can go on from a checkpoint and a person moves it."""
    network: bool = False
    """Its tasks use the worker's."""
    confidential: bool = False
    """Believed of a node's own jobs only, as no others may be: nothing that leaves the node tells of it."""
    lasting: bool = False
    """When its master is gone there will be another, who wants what runs."""


class Fault(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Why a task has no value: an error of our tree, and for TaskFailed what the user's code raised."""

    code: Count
    message: LongText
    exception_type: ShortText = ""
    traceback: LongText = ""
    exception_arguments: Annotated[bytes, Meta(max_length=65_536)] = b""
    """`values` encoding of the exception's arguments, when they are data."""
    exception_state: Annotated[bytes, Meta(max_length=65_536)] = b""
    """`values` encoding of (attributes, parts), as `raised` has them, where there are any."""
    exception_pickle: Annotated[bytes, Meta(max_length=65_536)] = b""
    """The exception itself, for submitters that open pickles, where what is above does not say all of it."""


class Started(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=0):
    index: Count
    attempt: Count
    waits: bool = False
    """It has submitted tasks of its own and waits for them: run twice, it would submit them twice."""
    suspended: bool = False
    """It stands still until somebody says otherwise, wherever it is by then."""
    checkpoint: Checkpoint | None = None
    """How far it has come, if it has said so since this was told."""
    ran_s: Span = 0.0
    """For how long it has, up to now."""


class Finished(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=1):
    index: Count
    attempt: Count
    value: Payload | None = None
    """A `values` encoding, or a pickle where `pickled`; None where there is a fault."""
    fault: Fault | None = None
    pickled: bool = False
    started_s: Real = 0.0
    """Mesh time."""
    elapsed_s: Span = 0.0
    stdout: Annotated[bytes, Meta(max_length=262_144)] = b""
    """Its beginning and end, if it was long."""
    stderr: Annotated[bytes, Meta(max_length=262_144)] = b""
    guarantees: Guarantees = Guarantees()
    """What the sandbox enforced. Who ran it is who sends it."""
    with_files: bool = False
    """The value is a `setting.WithFiles`, which holds the value proper."""
    cached: bool = False
    """It has not run for this: an earlier run of the same left it."""


class Returned(msgspec.Struct, frozen=True, array_like=True, gc=False, tag=2):
    """Not run here, and not begun: place it elsewhere. No attempt is counted."""

    index: Count
    attempt: Count
    code: Count
    reason: ShortText = ""
    begun: bool = False
    """It has, and was ended: whoever must not run twice is lost."""


Report = Started | Finished | Returned
REPORTS_MAX = 65_536


class ExecutionConfirmation(Message, frozen=True, tag=21):
    """Worker → master, batched. Repeats are harmless: the first acceptance of an index stands."""

    job: JobName
    epoch: Count
    reports: Annotated[list[Report], Meta(max_length=REPORTS_MAX)]
    leaving: bool = False
    """The worker is to be given nothing more, of no job: it leaves. Said of a job that there need not be."""


class TaskComplete(Message, frozen=True, tag=22):
    """Master → workers: the job is over; release programs, objects and sandboxes held for it."""

    job: JobName
    epoch: Count
    passed_on: bool = False
    """It is not over, but this master is not its master any more: the next one will ask for what runs."""


class CancelInstructions(Message, frozen=True, tag=23):
    """Master → worker. Unstarted ones are dropped, running ones are killed; both are confirmed as Cancelled."""

    job: JobName
    epoch: Count
    indexes: Annotated[list[Count], Meta(max_length=65_536)]
    unbegun_only: bool = False
    """They are wanted elsewhere: those that have not begun are Returned as Cancelled, the others go on."""


class TasksSought(Message, frozen=True, tag=71):
    """Master of a new epoch → whoever may be a worker: what of the job runs on with you, or has ended? From now on that
    is for me; what has not begun I place anew. Answer: TASKS_HELD."""

    request: RequestId
    job: JobName
    epoch: Count


class TasksHeld(Message, frozen=True, tag=72):
    request: RequestId
    indexes: Annotated[list[Count], Meta(max_length=REPORTS_MAX)]


class JobOrphaned(Message, frozen=True, tag=73):
    """Worker → whoever is the job's master as its register has it: I have some of it here, from another one that is
    gone. Followed by TASKS_SOUGHT, and by TASK_COMPLETE if the job is over."""

    job: JobName


class ObjectWant(Message, frozen=True, tag=24):
    """On a bulk connection. Answer: ObjectComes, or ObjectMissing."""

    request: RequestId
    object_id: ObjectId


class ObjectComes(Message, frozen=True, tag=70):
    """Its bytes follow, in no frame, and then whatever is answered next."""

    request: RequestId
    total_bytes: Count


class ObjectMissing(Message, frozen=True, tag=26):
    request: RequestId


class ObjectRelease(Message, frozen=True, tag=27):
    """To the holder: the result has been fetched and may go."""

    objects: Annotated[list[ObjectId], Meta(max_length=4096)]
