"""Masters, as this node's execution knows them: itself, and those of other nodes."""

from __future__ import annotations

from collections.abc import Callable

from ..overlay.identity.mesh import Identity
from ..overlay.ids import NodeId
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.membership.service import Membership
from ..overlay.wire.codec import Message
from ..overlay.wire.streams import InputWanted, TaskOutput
from ..overlay.wire.work import (
    CancelInstructions,
    ExecutionConfirmation,
    InstructionAssignment,
    TaskComplete,
    TasksHeld,
    TasksSought,
)
from .execution.service import ExecutionService
from .jobs.batches import cut, report_bytes
from .jobs.service import Jobs
from .streams import Streams


class Here:
    """This node as worker of its own jobs."""

    def __init__(self, identity: Identity, execution: ExecutionService, jobs: Jobs, streams: Streams) -> None:
        self._identity = identity
        self._execution = execution
        self._jobs = jobs
        self._streams = streams

    def assign(self, assignment: InstructionAssignment) -> None:
        self._execution.assign(self._identity.node_id, self._identity.owner_id, self, assignment)

    def cancel(self, message: CancelInstructions) -> None:
        self._execution.cancel(self._identity.node_id, message)

    def complete(self, message: TaskComplete) -> None:
        self._execution.complete(self._identity.node_id, message)

    def seek(self, message: TasksSought) -> TasksHeld:
        indexes = self._execution.seek(self._identity.node_id, self._identity.owner_id, self, message)
        return TasksHeld(message.request, indexes)

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        self._jobs.own_confirmed(confirmation)

    def say(self, message: TaskOutput | InputWanted) -> None:
        self._streams.said(self._identity.node_id, message)


class Elsewhere:
    """A master on another node: confirmations go over whatever link there is."""

    def __init__(self, links: Links, membership: Membership, node_id: NodeId) -> None:
        self._links = links
        self._membership = membership
        self._node_id = node_id

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        link = self._links.get(self._node_id)
        if link is None:
            self._membership.reach(self._node_id)
            return  # it assigns again when the link is back, and is answered then
        for part in cut(confirmation.reports, report_bytes):
            link.tell(ExecutionConfirmation(confirmation.job, confirmation.epoch, part))

    def say(self, message: TaskOutput | InputWanted) -> None:
        if (link := self._links.get(self._node_id)) is not None:
            link.tell(message)  # and again when it assigns again


class Masters:
    """What those of other nodes say to this one as their worker."""

    def __init__(
        self,
        execution: ExecutionService,
        links: Links,
        membership: Membership,
        released: Callable[[NodeId, TaskComplete], None],
    ) -> None:
        """`released` is told what is said of jobs that are over, or another's, and by whom."""
        self._execution = execution
        self._links = links
        self._membership = membership
        self._released = released
        links.on(InstructionAssignment, self._assigned)
        links.on(CancelInstructions, self._cancelled)
        links.on(TaskComplete, self._completed)
        links.on(TasksSought, self._sought)
        links.up.append(self._ask_for_jobs)

    def _assigned(self, link: Link, message: Message) -> None:
        assert isinstance(message, InstructionAssignment)
        peer = link.peer
        master = Elsewhere(self._links, self._membership, peer.node_id)
        self._execution.assign(peer.node_id, peer.owner_id, master, message)

    def _cancelled(self, link: Link, message: Message) -> None:
        assert isinstance(message, CancelInstructions)
        self._execution.cancel(link.peer.node_id, message)

    def _completed(self, link: Link, message: Message) -> None:
        assert isinstance(message, TaskComplete)
        self._released(link.peer.node_id, message)
        if self._execution.serves(link.peer.node_id, message.job):  # else it is none of the sender's business
            self._execution.complete(link.peer.node_id, message)

    def _sought(self, link: Link, message: Message) -> None:
        assert isinstance(message, TasksSought)
        peer = link.peer
        master = Elsewhere(self._links, self._membership, peer.node_id)
        indexes = self._execution.seek(peer.node_id, peer.owner_id, master, message)
        link.tell(TasksHeld(message.request, indexes))

    def _ask_for_jobs(self, link: Link) -> None:
        """That a job is over may have been lost with the link before this one."""
        for question in self._execution.held_for(link.peer.node_id):
            link.tell(question)
