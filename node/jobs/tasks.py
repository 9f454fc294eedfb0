"""What a master remembers: jobs, their programs and the tasks that have no outcome yet. No decisions."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from ...overlay.ids import NodeId
from ...overlay.wire.control import JobOptions
from ...overlay.wire.work import Lineage, Payload, Program


class Task:
    """A task not yet finished."""

    __slots__ = (
        "arguments",
        "asked_back",
        "attempt",
        "copy",
        "earlier",
        "errors",
        "index",
        "is_parent",
        "kind",
        "losses",
        "node",
        "program",
        "returns",
        "started_s",
    )

    def __init__(self, index: int, program: bytes, arguments: Payload, kind: str) -> None:
        self.index = index
        self.program = program
        self.arguments = arguments
        self.kind = kind
        self.attempt = 0
        self.losses = 0
        """Workers it has lost."""
        self.errors = 0
        """Times it has failed and was to be tried again."""
        self.node: NodeId | None = None
        self.copy: NodeId | None = None
        """Where it runs a second time; never without the first."""
        self.started_s: float | None = None
        """When `node` said that it runs there."""
        self.is_parent = False
        """It has been waiting for tasks that it has submitted."""
        self.asked_back = False
        """Its node is to return it unless it has begun."""
        self.returns = 0
        self.earlier: tuple[NodeId, ...] = ()
        """Nodes it was taken back from, whose answer would still do."""

    @property
    def started(self) -> bool:
        return self.started_s is not None

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Where it is."""
        return tuple(node_id for node_id in (self.node, self.copy) if node_id is not None)

    def may_be_answered_by(self, node_id: NodeId) -> bool:
        return node_id in self.nodes or node_id in self.earlier

    def take_back(self, node_id: NodeId) -> None:
        """From a node where it is. If it is at another as well, that one goes on with it."""
        if node_id not in self.earlier:
            self.earlier = (*self.earlier, node_id)
        if node_id == self.copy:
            self.copy = None
        else:
            self.node, self.copy, self.started_s, self.asked_back = self.copy, None, None, False


@dataclass
class ProgramState:
    program: Program
    mean_s: float | None = None
    known_at: set[NodeId] = field(default_factory=set)
    impossible_at: dict[NodeId, str] = field(default_factory=dict)
    """Nodes that lack what it refers to, and what that is."""


@dataclass(frozen=True)
class Origin:
    """Of a job that a task on this node has submitted."""

    lineage: Lineage
    owner: bytes
    """Of that task."""
    as_guest: bool
    """He is not this node's: nothing of this may run where only its own owner's tasks may."""


@dataclass
class Job:
    job_id: str
    epoch: int
    options: JobOptions
    origin: Origin | None = None
    """None: a program has submitted it."""
    submitted_s: float = 0.0
    """Mesh time."""
    total: int = 0
    """Tasks ever submitted."""
    tasks: dict[int, Task] = field(default_factory=dict)
    programs: dict[bytes, ProgramState] = field(default_factory=dict)
    pending: dict[tuple[bytes, str], deque[Task]] = field(default_factory=dict)
    """By program and kind, in order."""
    resting: dict[int, float] = field(default_factory=dict)
    """Tasks that failed, by index, and when they are tried again."""
    at: dict[NodeId, set[int]] = field(default_factory=dict)
    """Indexes assigned to each node that has ever been given a task of this job."""
    refused_by: dict[NodeId, str] = field(default_factory=dict)
    unplaceable_since_s: dict[tuple[bytes, str], float] = field(default_factory=dict)

    @property
    def losses_max(self) -> int:
        """Of one task, before it is given up."""
        return 0 if self.options.at_most_once else self.options.retries
