"""What nodes and programs say about processes: the tasks in execution on a node."""

from __future__ import annotations

from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from .codec import Count, LongText, Message, NodeName, RequestId, ShortText

TYPES: Final = ("ai_inference", "data_processing", "blockchain_validator", "network_node", "system", "user")
"""Of processes; others are shown as they are."""
LINES_MAX: Final = 2048
"""In one message, which they fit into however long their names are."""
ACTED_MAX: Final = 4096

Act = Literal["kill", "suspend", "resume"]


class ProcessLine(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A row of a node's table."""

    number: Count
    state: ShortText
    type: ShortText
    priority: int
    owner: ShortText
    job: ShortText
    task: ShortText
    """As JOB/INDEX."""
    parent: ShortText = ""
    """The task that has submitted it, in the same way."""
    group: ShortText = ""
    """The job that a program has submitted, from which it comes."""
    ran_s: float = 0.0
    """In a slot."""
    wait_s: float = 0.0
    turnaround_s: float = 0.0
    stops: Count = 0
    """How often it was pre-empted."""


class AskProcesses(Message, frozen=True, tag=81):
    """Answer: Processes."""

    request: RequestId
    node: NodeName = ""
    """Whose; empty: of the node that is asked. Between nodes always empty."""
    first: Count = 0
    """Only those with numbers from here on."""


class Processes(Message, frozen=True, tag=82):
    request: RequestId
    code: Count = 0
    reason: LongText = ""
    lines: Annotated[list[ProcessLine], Meta(max_length=LINES_MAX)] = []
    """In order of number."""
    more: Count = 0
    """The number to ask for next; 0: these were the last."""


class ActOnProcesses(Message, frozen=True, tag=83):
    """Answer: Acted."""

    request: RequestId
    act: Act
    numbers: Annotated[list[Count], Meta(max_length=ACTED_MAX)]
    node: NodeName = ""
    """As in AskProcesses."""


class Acted(Message, frozen=True, tag=84):
    request: RequestId
    code: Count = 0
    reason: LongText = ""
    numbers: Annotated[list[Count], Meta(max_length=ACTED_MAX)] = []
    """On which it has acted: they were there, and it made a difference."""
