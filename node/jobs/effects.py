"""What a master has done: the effects of its engine."""

from __future__ import annotations

from dataclasses import dataclass

from ...overlay.ids import NodeId
from ...overlay.wire.work import CancelInstructions, Checkpoint, InstructionAssignment, Report, TaskComplete


@dataclass(frozen=True)
class Assign:
    node_id: NodeId
    assignment: InstructionAssignment


@dataclass(frozen=True)
class CancelAt:
    node_id: NodeId
    message: CancelInstructions


@dataclass(frozen=True)
class Release:
    """The job is over for this worker."""

    node_id: NodeId
    message: TaskComplete


@dataclass(frozen=True)
class Tell:
    """The submitter should know."""

    job: str
    node_id: NodeId | None
    """Where it ran; None where it did not."""
    reports: list[Report]


@dataclass(frozen=True)
class Drop:
    """Arguments that no task needs any more."""

    objects: list[bytes]


@dataclass(frozen=True)
class Note:
    """Of a task, for whoever succeeds this master: how far it has come, and whether it stands still."""

    job: str
    index: int
    suspended: bool
    checkpoint: Checkpoint | None
    """None: as before."""


Effect = Assign | CancelAt | Release | Tell | Note | Drop
