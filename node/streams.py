"""What running tasks say, between the nodes that run them and the program that waits for it.

A job's master passes it on and keeps nothing: how much is on its way is limited where it is printed or read. Of a job
that nobody follows, one that lasts, everything counts as shown and is overheard, and there is no input.
"""

from __future__ import annotations

from collections.abc import Callable

from ..overlay.ids import NodeId
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.wire.codec import Message
from ..overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput

Follower = Callable[[NodeId, TaskOutput | InputWanted], None]
"""Takes what tasks on a node say; must not wait, and has it answered when it has been shown, or input is there."""


class Streams:
    """`has_given` says whether this node has given that one work of a job."""

    def __init__(
        self,
        node_id: NodeId,
        links: Links,
        has_given: Callable[[str, NodeId], bool],
        shown_here: Callable[[bytes, OutputTaken], None],
        input_here: Callable[[bytes, InputPart], None],
    ) -> None:
        self._node_id = node_id
        self._links = links
        self._has_given = has_given
        self._shown_here = shown_here
        self._input_here = input_here
        self._followers: dict[str, Follower] = {}
        self.overheard: Callable[[NodeId, TaskOutput], None] = lambda node_id, said: None
        """What tasks of jobs print that nobody follows."""
        links.on(TaskOutput, self._said_by_peer)
        links.on(InputWanted, self._said_by_peer)
        links.on(OutputTaken, self._answered_by_peer)
        links.on(InputPart, self._answered_by_peer)

    def follow(self, job: str, follower: Follower) -> None:
        self._followers[job] = follower

    def leave(self, job: str) -> None:
        self._followers.pop(job, None)

    def said(self, node_id: NodeId, said: TaskOutput | InputWanted) -> None:
        """By a task that runs on that node."""
        if not self._has_given(said.job, node_id):
            return
        if (follower := self._followers.get(said.job)) is not None:
            follower(node_id, said)
        elif isinstance(said, TaskOutput):
            self.overheard(node_id, said)
            self.answer(node_id, OutputTaken(said.job, said.position + len(said.data), said.begun))
        else:
            self.answer(node_id, InputPart(said.job, said.index, said.attempt, said.offset, end=True))

    def answer(self, node_id: NodeId, answer: OutputTaken | InputPart) -> None:
        if node_id == self._node_id:
            self._answered(node_id, answer)
        elif (link := self._links.get(node_id)) is not None:
            link.tell(answer)  # over the next link it is said again, and answered again

    def _said_by_peer(self, link: Link, message: Message) -> None:
        assert isinstance(message, TaskOutput | InputWanted)
        self.said(link.peer.node_id, message)

    def _answered_by_peer(self, link: Link, message: Message) -> None:
        assert isinstance(message, OutputTaken | InputPart)
        self._answered(link.peer.node_id, message)

    def _answered(self, master: NodeId, answer: OutputTaken | InputPart) -> None:
        if isinstance(answer, OutputTaken):
            self._shown_here(master, answer)
        else:
            self._input_here(master, answer)
