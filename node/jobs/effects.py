"""What a master has done: the effects of its engine."""

from __future__ import annotations

from msgspec import Struct

from ...overlay.ids import NodeId
from ...overlay.wire.work import CancelInstructions, Checkpoint, InstructionAssignment, Report, TaskComplete


class Assign(Struct, frozen=True):
    node_id: NodeId
    assignment: InstructionAssignment


class CancelAt(Struct, frozen=True):
    node_id: NodeId
    message: CancelInstructions


class Release(Struct, frozen=True):
    """The job is over for this worker."""

    node_id: NodeId
    message: TaskComplete


class Tell(Struct, frozen=True):
    """The submitter should know."""

    job: str
    node_id: NodeId | None
    """Where it ran; None where it did not."""
    reports: list[Report]


class Drop(Struct, frozen=True):
    """Arguments that no task needs any more."""

    objects: list[bytes]


class Note(Struct, frozen=True):
    """Of a task, for whoever succeeds this master: how far it has come, and whether it stands still."""

    job: str
    index: int
    suspended: bool
    checkpoint: Checkpoint | None
    """None: as before."""


Effect = Assign | CancelAt | Release | Tell | Note | Drop
