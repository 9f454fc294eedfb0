"""What running tasks say, between the nodes that run them and the program that waits for it.

A job's master passes it on and keeps nothing: how much is on its way is limited where it is printed. Of a job that
nobody follows, everything counts as shown.
"""

from __future__ import annotations

from collections.abc import Callable

from ..overlay.errors import LinkLost
from ..overlay.ids import NodeId
from ..overlay.links.link import Link
from ..overlay.links.links import Links
from ..overlay.wire.codec import Message
from ..overlay.wire.streams import OutputTaken, TaskOutput

Follower = Callable[[NodeId, TaskOutput], None]
"""Takes what tasks on a node have printed; must not wait, and has `shown` called when it has been shown."""


class Streams:
    """`has_given` says whether this node has given that one work of a job."""

    def __init__(
        self,
        node_id: NodeId,
        links: Links,
        has_given: Callable[[str, NodeId], bool],
        shown_here: Callable[[bytes, OutputTaken], None],
    ) -> None:
        self._node_id = node_id
        self._links = links
        self._has_given = has_given
        self._shown_here = shown_here
        self._followers: dict[str, Follower] = {}
        links.on(TaskOutput, self._said_by_peer)
        links.on(OutputTaken, self._taken_by_peer)

    def follow(self, job: str, follower: Follower) -> None:
        self._followers[job] = follower

    def leave(self, job: str) -> None:
        self._followers.pop(job, None)

    def said(self, node_id: NodeId, output: TaskOutput) -> None:
        if not self._has_given(output.job, node_id):
            return
        if (follower := self._followers.get(output.job)) is not None:
            follower(node_id, output)
        else:
            self.shown(node_id, OutputTaken(output.job, output.position + len(output.data)))

    def shown(self, node_id: NodeId, taken: OutputTaken) -> None:
        if node_id == self._node_id:
            self._shown_here(node_id, taken)
        elif (link := self._links.get(node_id)) is not None:
            try:
                link.post(taken)
            except LinkLost:
                pass  # over the next link it is sent again, and answered again

    def _said_by_peer(self, link: Link, message: Message) -> None:
        assert isinstance(message, TaskOutput)
        self.said(link.peer.node_id, message)

    def _taken_by_peer(self, link: Link, message: Message) -> None:
        assert isinstance(message, OutputTaken)
        self._shown_here(link.peer.node_id, message)
