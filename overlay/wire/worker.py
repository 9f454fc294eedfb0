"""Between a node and one worker process, over its two-way pipe. The process is not trusted: it is the user's code.

node                                worker
                   ◀──────────────  WorkerReady            once, when warm
LoadProgram        ──────────────▶                         before its first RunTask
RunTask, RunTask…  ──────────────▶                         run in order, one at a time
WithdrawTasks      ──────────────▶                         those not begun are skipped
                   ◀──────────────  TaskFinished           per RunTask, in order
                   ◀──────────────  NodeCall               while a task runs: the task asks its node
NodeAnswer         ──────────────▶
                   ◀──────────────  LineSaid               while a task runs: it talks with its node as programs do
LineHeard          ──────────────▶
                   ◀──────────────  TaskSaves              while a task runs: see `node.execution.checkpoints`
                   ◀──────────────  TaskWaits, TaskWants   while a task runs: see `node.execution.standing`
TaskGoesOn         ──────────────▶
WarmUp             ──────────────▶                         while it waits unused

A long payload goes beside the frame that has `Attached` in its place, as a parcel (`overlay.parcels`), either way.
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from .codec import Codec, Count, LongText, Message, RequestId, ShortText, Span
from .framing import WORKER_FRAME_BYTES_MAX
from .work import CHECKPOINT_BYTES_MAX, Attached, Checkpoint, Fault, Inline, ProgramForm


class WorkerReady(Message, frozen=True, tag=1):
    python: ShortText


class LoadProgram(Message, frozen=True, tag=2):
    """Compiled or unpickled at the first RunTask that names it, so that its faults are that task's."""

    program: Count
    form: ProgramForm
    body: Inline | Attached
    entry: ShortText = ""
    file_name: ShortText = ""


class RunTask(Message, frozen=True, tag=3):
    """`task` is the node's own number, meaningless elsewhere."""

    task: Count
    program: Count
    arguments: Inline | Attached
    may_pickle: bool = False
    """A result that is not plain data may come back as a pickle."""
    takes_input: bool = False
    """What comes through descriptor 0 of the worker is this task's standard input; no other task has one."""
    checkpoint: Checkpoint | None = None
    """An earlier run of it has said this to go on from."""


class TaskFinished(Message, frozen=True, tag=4):
    task: Count
    value: Inline | Attached | None = None
    fault: Fault | None = None
    pickled: bool = False
    elapsed_s: Span = 0.0
    stdout_end: Count = 0
    """How much the worker has ever printed when this task ends; the next one's output begins there."""
    stderr_end: Count = 0
    with_files: bool = False
    """The value is a `setting.WithFiles`."""


class NodeCall(Message, frozen=True, tag=5):
    """The running task asks its node, within what its job may do. `arguments` and the answer are `values`."""

    request: RequestId
    operation: ShortText
    arguments: bytes


class NodeAnswer(Message, frozen=True, tag=6):
    request: RequestId
    value: bytes = b""
    code: Count = 0
    reason: LongText = ""


class WithdrawTasks(Message, frozen=True, tag=7):
    """Tasks that run elsewhere or not at all. One that has begun meanwhile is finished and answered as ever."""

    tasks: Annotated[list[Count], Meta(max_length=65_536)]


class LineSaid(Message, frozen=True, tag=8):
    """Bytes of the control protocol, from the running task as a program of its own. No bytes: the line is closed."""

    task: Count
    line: Count
    data: bytes


class LineHeard(Message, frozen=True, tag=9):
    """The node's part of it. No bytes: the line is closed."""

    line: Count
    data: bytes


class TaskWaits(Message, frozen=True, tag=10):
    """For tasks that it has submitted: its slot is free for them. `turn` counts how often this worker has waited."""

    task: Count
    turn: Count


class TaskWants(Message, frozen=True, tag=11):
    """What it waited for in this turn is there: it wants a slot again, and waits for TaskGoesOn."""

    task: Count
    turn: Count


class TaskGoesOn(Message, frozen=True, tag=12):
    turn: Count


class TaskSaves(Message, frozen=True, tag=14):
    """From here it is to go on, should it be ended before it ends. Not answered."""

    task: Count
    state: Annotated[bytes, Meta(max_length=CHECKPOINT_BYTES_MAX)]
    pickled: bool


class WarmUp(Message, frozen=True, tag=13):
    """Installed modules to be imported now, because a task will want them: what cannot be imported is left."""

    modules: Annotated[list[ShortText], Meta(max_length=64)]


ToWorker = LoadProgram | RunTask | NodeAnswer | WithdrawTasks | LineHeard | TaskGoesOn | WarmUp
FromWorker = WorkerReady | TaskFinished | NodeCall | LineSaid | TaskSaves | TaskWaits | TaskWants

TO_WORKER: Final[Codec[ToWorker]] = Codec(
    [LoadProgram, RunTask, NodeAnswer, WithdrawTasks, LineHeard, TaskGoesOn, WarmUp],
    body_bytes_max=WORKER_FRAME_BYTES_MAX,
)
FROM_WORKER: Final[Codec[FromWorker]] = Codec(
    [WorkerReady, TaskFinished, NodeCall, LineSaid, TaskSaves, TaskWaits, TaskWants],
    body_bytes_max=WORKER_FRAME_BYTES_MAX,
)


def opened(payload: Inline | Attached) -> Inline:
    """Of what has come out of the pipe, whose reader opens what is attached."""
    assert isinstance(payload, Inline)
    return payload
