"""What is asked of any node about any job, by a program or by another node of the same owner."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from .codec import Count, LongText, Message, Real, RequestId, ShortText, Span
from .work import Finished

What = Literal["job", "jobs", "tasks", "explain", "cancel", "forget", "history", "output"]

LINES_MAX: Final = 16_384


class AskJob(Message, frozen=True, tag=56):
    """Answer: JobSaid. `job` is empty for `jobs` and `history`, which ask for all.

    job       a JSON object, as the contract has it, without its tasks
    jobs      a JSON list of these
    tasks     as `job`, with as many tasks from index `first` on as fit, in `lines`
    explain   a JSON list of why each waiting task waits
    cancel    as `job`, once it is cancelled
    forget    the same, once nothing is kept of it any more
    history   a JSON list of jobs that are over
    output    as `job`, with what its tasks have printed while they ran since the byte `first`, in `printed`, as far as
              that is kept; `more` is the byte to ask from next, `missed_bytes` how many are not kept any more
    """

    request: RequestId
    job: Annotated[str, Meta(max_length=64)]
    what: What
    first: Count = 0


class TaskLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Count
    state: ShortText
    node: ShortText = ""
    own: bool = True
    finished: Finished | None = None
    attempts: Count = 0
    """Without an outcome: how many have begun."""
    started_s: Real = 0.0
    """Mesh time; 0 for what does not run."""
    ran_s: Span = 0.0


class PrintedPiece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Count
    attempt: Count
    node: ShortText
    stream: Annotated[int, Meta(ge=1, le=2)]
    data: Annotated[bytes, Meta(max_length=65_536)]
    position: Count = 0
    """Of the first byte, among all that the job's tasks have printed on that node since `begun`."""
    begun: Count = 0


class JobSaid(Message, frozen=True, tag=57):
    """`code` and `reason` of an error, or `json` and what goes with it."""

    request: RequestId
    code: Count = 0
    reason: LongText = ""
    json: bytes = b""
    lines: Annotated[list[TaskLine], Meta(max_length=LINES_MAX)] = []
    more: Count = 0
    """The index to ask for next; 0: these were the last."""
    printed: Annotated[list[PrintedPiece], Meta(max_length=LINES_MAX)] = []
    missed_bytes: Count = 0
