"""One task without an outcome, as its master has it."""

from __future__ import annotations

from typing import Final

from ...overlay.backoff import doubled_s
from ...overlay.ids import NodeId
from ...overlay.wire.control import TaskSpec
from ...overlay.wire.work import Checkpoint

_FETCHED_AGAIN_S: Final = 0.5
_FETCHED_AGAIN_MAX_S: Final = 30.0
"""Nobody is to blame for what does not arrive where a task is to begin: a job outlasts what ails the network."""


class Task:
    """A task not yet finished."""

    __slots__ = (
        "arguments",
        "asked_back",
        "attempt",
        "bound_for",
        "checkpoint",
        "copy",
        "earlier",
        "errors",
        "index",
        "is_parent",
        "kind",
        "losses",
        "moved",
        "node",
        "program",
        "returns",
        "started_s",
        "suspended",
        "unfetched",
        "why_it_rests",
    )

    def __init__(self, program: bytes, spec: TaskSpec) -> None:
        self.index = spec.index
        self.program = program
        self.arguments = spec.arguments
        self.kind = spec.kind
        self.checkpoint: Checkpoint | None = spec.checkpoint
        """Where its next run begins."""
        self.suspended = spec.suspended
        """So it stays, wherever it is given."""
        self.bound_for: NodeId | None = None
        """Where it goes on when its node has returned it."""
        self.moved = False
        """Somebody wants it at its `node`: it waits there for a slot, and nobody asks it back for one that is free
        elsewhere."""
        self.attempt = 0
        self.losses = 0
        """Workers it has lost since it has come further."""
        self.errors = 0
        """Times it has failed since then, and was to be tried again."""
        self.node: NodeId | None = None
        self.copy: NodeId | None = None
        """Where it runs a second time; never without the first."""
        self.started_s: float | None = None
        """When it began at `node`, as soon as that has said so."""
        self.is_parent = False
        """It has been waiting for tasks that it has submitted."""
        self.asked_back = False
        """Its node is to return it unless it has begun."""
        self.returns = 0
        self.unfetched = 0
        """Times in a row that what it needs did not arrive where it was to begin."""
        self.why_it_rests = ""
        """Or did last."""
        self.earlier: tuple[NodeId, ...] = ()
        """Nodes it was taken back from, whose answer would still do."""

    def fetched_again_s(self, why: str) -> float:
        """How long it rests because something has not arrived, once more in a row."""
        self.why_it_rests = why
        pause_s = doubled_s(_FETCHED_AGAIN_S, self.unfetched, _FETCHED_AGAIN_MAX_S)
        self.unfetched += 1
        return pause_s

    @property
    def started(self) -> bool:
        return self.started_s is not None

    @property
    def begun(self) -> int:
        """How many of its attempts have."""
        return self.attempt + self.started

    @property
    def nodes(self) -> tuple[NodeId, ...]:
        """Where it is."""
        if self.node is None:
            return ()
        return (self.node,) if self.copy is None else (self.node, self.copy)

    def came(self, checkpoint: Checkpoint | None) -> bool:
        """Whether that is a newer one. One that says what the last one said is no progress: who says it and ends badly
        each time would be tried for ever."""
        if checkpoint is None or checkpoint.number <= self.reached:
            return False
        if self.checkpoint is None or checkpoint.state != self.checkpoint.state:
            self.losses = self.errors = 0
        self.checkpoint = checkpoint
        return True

    @property
    def reached(self) -> int:
        """Number of its last checkpoint."""
        return 0 if self.checkpoint is None else self.checkpoint.number

    def arrive(self, node_id: NodeId) -> None:
        """It goes on where it was bound for."""
        self.node, self.moved = node_id, True

    def may_be_answered_by(self, node_id: NodeId) -> bool:
        return node_id in self.nodes or node_id in self.earlier

    def take_back(self, node_id: NodeId) -> None:
        """From a node where it is. If it is at another as well, that one goes on with it."""
        if node_id not in self.earlier:
            self.earlier = (*self.earlier, node_id)
        if node_id == self.copy:
            self.copy = None
        else:
            self.node, self.copy, self.started_s, self.asked_back, self.moved = self.copy, None, None, False, False
