"""Between a user's program and a node of the same user, on the node's Unix socket. Versioned apart from the wire.

A request carries a `request` number and is answered by exactly one `Answer` or `Failure` with that number, except:
`Submit` and `CancelTasks` are answered by `TaskReports` as things happen, `PutPart` and `OutputShown` by nothing,
`Watch` by `Answer` for every event until the connection closes.

A long payload goes beside a frame, as a parcel (`overlay.parcels`), or in parts where the system has no such files.
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .codec import Codec, Count, LongText, Message, Priority, RawId, RequestId, ShortText, Span
from .limits import Limits
from .needs import Needs
from .processes import Acted, ActOnProcesses, AskProcesses, Processes
from .questions import AskJob, JobSaid
from .records import Version
from .streams import InputPart, InputWanted, OutputTaken, TaskOutput
from .work import Checkpoint, Inline, JobName, Program, Reference, Report

CONTROL_VERSION: Final = 3

JsonText = bytes
"""JSON of an answer whose shape `contract` fixes: what `--json` prints."""


class Greeting(Message, frozen=True, tag=1):
    """Program → node, first."""

    version: Count = CONTROL_VERSION


class Welcome(Message, frozen=True, tag=2):
    version: Count
    name: ShortText
    node_id: RawId
    slots_in_mesh: Count
    """A first idea of how many tasks run at once."""


class JobOptions(msgspec.Struct, frozen=True, array_like=True):
    timeout_s: Span | None = None
    retries: Count = 3
    priority: Priority = 0
    confidential: bool = False
    on: ShortText = ""
    """Run only on the node of this name."""
    trust_results: bool = False
    needs_kind: ShortText = ""
    """Only on nodes that handle instructions of this kind."""
    error_retries: Count = 0
    """How often a task that failed by its own doing is tried again."""
    backoff_s: Span = 0.5
    """Pause before the first of these; it doubles from one to the next."""
    at_most_once: bool = False
    """Never run again once it may have begun: it ends as WorkerLost instead."""
    streams_output: bool = False
    """What tasks print comes while they run, as Printed."""
    takes_input: bool = False
    """A script reads what this program gives it when it is asked with InputAsked."""
    cache: bool = False
    """A result that the same call has had before, on any node of this owner, will do."""
    lasting: bool = False
    """The job goes on when its client is gone, and outlives the machine that took it."""
    needs: Needs = Needs()
    limits: Limits = Limits()
    process_type: ShortText = ""
    """What kind of process its tasks are, for whoever looks at them."""
    estimate_s: Span | None = None
    """How long each of its tasks will run, where somebody knows."""
    network: bool = False
    """Its tasks use the network, on nodes whose owners allow it."""


class OpenJob(Message, frozen=True, tag=3):
    """Answer: JSON `{"job": id}`. The job lives until CloseJob or until this connection ends, unless it lasts."""

    request: RequestId
    options: JobOptions


class SealJob(Message, frozen=True, tag=22):
    """A lasting job has so many tasks, and no more come. Answer: JSON `{"job"}`, once it is safe; else Failure."""

    request: RequestId
    job: JobName
    tasks: Count


class TaskSpec(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Count
    arguments: Inline | Reference
    kind: ShortText = ""
    checkpoint: Checkpoint | None = None
    """To go on from, where an earlier master knew of one."""
    suspended: bool = False
    """It was, under an earlier master."""


class Submit(Message, frozen=True, tag=4):
    """Tasks of one program. `program.body` is needed the first time a job names the program."""

    job: JobName
    program: Program
    tasks: Annotated[list[TaskSpec], Meta(max_length=65_536)]


class CancelTasks(Message, frozen=True, tag=5):
    job: JobName
    indexes: Annotated[list[Count], Meta(max_length=65_536)]


class CloseJob(Message, frozen=True, tag=6):
    """No more tasks; what still runs is cancelled and everything held for the job is released."""

    job: JobName


class NodeReports(msgspec.Struct, frozen=True, array_like=True):
    node: ShortText
    """Name of the node that ran them."""
    own: bool
    """Same owner: its pickled results may be opened."""
    reports: Annotated[list[Report], Meta(max_length=65_536)]


class TaskReports(Message, frozen=True, tag=7):
    """Node → program. Each index is finished exactly once. A `Reference` is fetched with GetObject."""

    job: JobName
    batches: Annotated[list[NodeReports], Meta(max_length=4096)]


class PutPart(Message, frozen=True, tag=8):
    """A payload too long for one frame, in parts, before the Submit that refers to it."""

    object_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    offset: Count
    total_bytes: Count
    data: bytes


class PutParcel(Message, frozen=True, tag=23):
    """As PutPart, all of it: the next parcel that comes beside the frames."""

    object_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    size_bytes: Count


class GetObject(Message, frozen=True, tag=9):
    """Answer: ObjectParcel, or ObjectBytes until complete, or Failure. The node drops the object afterwards."""

    request: RequestId
    job: JobName
    reference: Reference


class ObjectBytes(Message, frozen=True, tag=10):
    request: RequestId
    offset: Count
    total_bytes: Count
    data: bytes


class ObjectParcel(Message, frozen=True, tag=24):
    """The next parcel that comes beside the frames."""

    request: RequestId
    size_bytes: Count


class TasksSafe(Message, frozen=True, tag=88):
    """Node → program: of a lasting job, so many tasks, the first ones, are in the log of whoever could be its master:
    the program may send more, and need keep these no longer."""

    job: JobName
    tasks: Count


class Printed(Message, frozen=True, tag=51):
    """Node → program, for jobs that want it. Answer: OutputShown."""

    source: RawId
    """The node that says it."""
    output: TaskOutput

    @property
    def job(self) -> str:
        return self.output.job


class OutputShown(Message, frozen=True, tag=52):
    """Program → node. Without this, those who print wait."""

    source: RawId
    taken: OutputTaken


class InputAsked(Message, frozen=True, tag=53):
    """Node → program. Answer: InputGiven."""

    source: RawId
    wanted: InputWanted

    @property
    def job(self) -> str:
        return self.wanted.job


class InputGiven(Message, frozen=True, tag=54):
    source: RawId
    part: InputPart


class AskStatus(Message, frozen=True, tag=11):
    request: RequestId


class AskPeers(Message, frozen=True, tag=12):
    request: RequestId


class MemorySet(Message, frozen=True, tag=13):
    """`value` is a `values` encoding. Answer: JSON `{"key", "version", "replicas"}`."""

    request: RequestId
    key: ShortText
    value: bytes
    ttl_s: Span | None = None
    if_version: Version | None = None
    """Only if this is the key's version now, 0 for one that has no value; else Failure Conflict. Agreed."""


class MemoryGet(Message, frozen=True, tag=14):
    """Answer: MemoryValue, or Failure NotFound."""

    request: RequestId
    key: ShortText


class MemoryValue(Message, frozen=True, tag=15):
    request: RequestId
    value: bytes
    version: Version


class MemoryDelete(Message, frozen=True, tag=16):
    """Answer: JSON `{"key", "version", "replicas"}`, or Failure NotFound."""

    request: RequestId
    key: ShortText


class ShutDown(Message, frozen=True, tag=17):
    """Leave gracefully. Answer before the node goes: JSON `{"stopped", "jobs_handed_over", "handed_back", "finished",
    "given_up", "lost"}`. When the connection ends earlier, it goes at once."""

    request: RequestId
    drain: bool = False
    """Finish what runs, and what programs wait for, before."""
    within_s: Span = 300.0
    """For no longer than this."""


class Watch(Message, frozen=True, tag=18):
    """Membership events, one Answer each."""

    request: RequestId


class Invite(Message, frozen=True, tag=40):
    """Answer: JSON `{"code", "expires_s"}`, or Failure NotAllowed."""

    request: RequestId
    mine: bool = False
    """Whoever joins is this node's owner."""
    may_invite: bool = False
    """Whoever joins may let others in."""
    count: Annotated[int, Meta(ge=1, le=1000)] = 1
    life_ms: Annotated[int, Meta(ge=1, le=604_800_000)] = 600_000


class AskMembers(Message, frozen=True, tag=41):
    """Answer: JSON, everyone this node knows to be of the mesh, whether they run or not."""

    request: RequestId


class Reload(Message, frozen=True, tag=42):
    """The data directory is in another mesh now: leave, and begin again there in the same process. Answered before."""

    request: RequestId
    peers: Annotated[list[ShortText], Meta(max_length=16)] = []
    """`HOST:PORT` of members of the new mesh."""


class Ban(Message, frozen=True, tag=43):
    """Bans the owner of a member for ever, and whoever they let in. Answer: JSON `{"banned"}`, the names of the nodes
    that fall, or Failure. `asking` only asks who would."""

    request: RequestId
    name: ShortText
    asking: bool = False


class AskAudit(Message, frozen=True, tag=55):
    """Answer: JSON, the end of a node's audit log, and whether all of it is as it was."""

    request: RequestId
    node: ShortText = ""
    """Its name; empty: the one that is asked."""
    last: Annotated[int, Meta(ge=0, le=1000)] = 20
    """How many of the newest entries are shown."""


class AskPolicy(Message, frozen=True, tag=80):
    """Answer: JSON, the node's scheduling policy and its statistics."""

    request: RequestId
    policy: ShortText = ""
    """To go by from now on; empty: as it is."""


class AskLending(Message, frozen=True, tag=85):
    """Answer: JSON, whether the node lends, or why not, and its owner's rules."""

    request: RequestId
    pause: bool | None = None
    """From now on, or not any more; None: as it is."""


class AskDoctor(Message, frozen=True, tag=50):
    """Answer: JSON, a list of `{"check", "ok", "detail", "fix", "matters"}`: what only a running node can say."""

    request: RequestId


class Rotate(Message, frozen=True, tag=44):
    """Gives the mesh a new root. Answer: JSON `{"root", "left_out"}`, the new mesh's id and the names of the nodes that
    are not kept; the node then begins again under it."""

    request: RequestId
    without: Annotated[list[ShortText], Meta(max_length=64)] = []
    """Nodes of founders that are to be left behind."""


class MemoryIncrement(Message, frozen=True, tag=21):
    """Agreed. Answer: JSON `{"key", "value", "version", "replicas"}`, with the value after the increment."""

    request: RequestId
    key: ShortText
    amount: Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)] = 1


class Answer(Message, frozen=True, tag=19):
    request: RequestId
    json: JsonText


class Failure(Message, frozen=True, tag=20):
    request: RequestId
    code: Count
    message: LongText


_FROM_PROGRAM: Final[tuple[type[Message], ...]] = (
    Greeting,
    OpenJob,
    Submit,
    CancelTasks,
    CloseJob,
    OutputShown,
    InputGiven,
    PutPart,
    PutParcel,
    GetObject,
    AskStatus,
    AskPeers,
    MemorySet,
    MemoryGet,
    MemoryDelete,
    MemoryIncrement,
    ShutDown,
    Watch,
    Invite,
    AskMembers,
    AskDoctor,
    AskAudit,
    AskPolicy,
    AskLending,
    Reload,
    Ban,
    Rotate,
    SealJob,
    AskJob,
    AskProcesses,
    ActOnProcesses,
)
_FROM_NODE: Final[tuple[type[Message], ...]] = (
    Welcome,
    TaskReports,
    TasksSafe,
    Printed,
    InputAsked,
    ObjectBytes,
    ObjectParcel,
    MemoryValue,
    Answer,
    Failure,
    JobSaid,
    Processes,
    Acted,
)


TO_NODE: Final[Codec[Message]] = Codec(_FROM_PROGRAM)
TO_PROGRAM: Final[Codec[Message]] = Codec(_FROM_NODE)
