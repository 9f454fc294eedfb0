"""What nodes and programs say about processes: the tasks in execution on a node."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from .codec import Count, LongText, Message, NodeName, Priority, Real, RequestId, ShortText

TYPES: Final = ("ai_inference", "data_processing", "blockchain_validator", "network_node", "system", "user")
"""Of processes; others are shown as they are."""
LINES_MAX: Final = 2048
"""In one message, which they fit into however long their names are."""
ACTED_MAX: Final = 4096

Act = Literal["kill", "suspend", "resume", "migrate"]


class ProcessesOf(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What all lines of one job have in common."""

    job: ShortText
    owner: ShortText
    type: ShortText
    parent: ShortText = ""
    """The task that has submitted it, as JOB/INDEX."""
    group: ShortText = ""
    """The job that a program has submitted, from which it comes."""
    network_bytes: Count | None = None
    """None where nobody counts them."""


class ProcessLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a node's table. What a task has used is that of all it has started."""

    number: Count
    job: Count
    """By its place in the page's list."""
    index: Count
    """Of the task in its job."""
    state: ShortText
    priority: Priority
    created_s: Real
    """Mesh time."""
    ran_s: Real
    """In a slot."""
    wait_s: Real
    turnaround_s: Real
    stops: Count = 0
    """How often it was pre-empted."""
    cpu_s: Real | None = None
    """None where nobody has looked."""
    memory_bytes: Count | None = None
    memory_most_bytes: Count | None = None
    how: ShortText = ""
    """Once it has ended: `completed`, `moved`, or the kind of error."""
    checkpoint: Count = 0
    """How many its task has said, by this run of it and those before."""


class AskProcesses(Message, frozen=True, tag=81):
    """Answer: Processes."""

    request: RequestId
    node: NodeName = ""
    """Whose; empty: of the node that is asked. Between nodes always empty."""
    first: Count = 0
    """Only those with numbers from here on."""
    ended: bool = False
    """In place of those that are there, the last that have ended: no more than one message holds."""


class Processes(Message, frozen=True, tag=82):
    request: RequestId
    code: Count = 0
    reason: LongText = ""
    lines: Annotated[list[ProcessLine], Meta(max_length=LINES_MAX)] = []
    """In order of number."""
    more: Count = 0
    """The number to ask for next; 0: these were the last."""
    jobs: Annotated[list[ProcessesOf], Meta(max_length=LINES_MAX)] = []
    """Whose the lines are."""


class ActOnProcesses(Message, frozen=True, tag=83):
    """Answer: Acted."""

    request: RequestId
    act: Act
    numbers: Annotated[list[Count], Meta(max_length=ACTED_MAX)]
    node: NodeName = ""
    """As in AskProcesses."""
    to: NodeName = ""
    """Of `migrate`: where the process, one only, is to go on."""


class Acted(Message, frozen=True, tag=84):
    request: RequestId
    code: Count = 0
    reason: LongText = ""
    numbers: Annotated[list[Count], Meta(max_length=ACTED_MAX)] = []
    """On which it has acted: they were there, and it made a difference."""


class MayMove(Message, frozen=True, tag=85):
    """Worker → master: once I return this task, it is to go on at the node of that name. Answer: MoveJudged."""

    request: RequestId
    job: ShortText
    index: Count
    to: NodeName


class MoveJudged(Message, frozen=True, tag=86):
    """So be it; or why not."""

    request: RequestId
    code: Count = 0
    reason: LongText = ""
