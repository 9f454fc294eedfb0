"""A ready control conversation with one peer."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Final, TypeVar

import trio

from .. import boundary
from ..config import Links as LinksConfig
from ..errors import InternalError, LinkLost, PotluckError, RemoteProtocolError
from ..outbox import Outbox
from ..session.session import NEED_BYTES
from ..session.states import Role, State
from ..wire.codec import Message
from ..wire.opening import DisconnectAck, DisconnectRequest
from ..wire.peer import GOSSIP
from .conversation import Conversation
from .opening import PeerInfo
from .questions import ANSWER_TYPES, Asking

M = TypeVar("M", bound=Message)
Dispatch = Callable[["Link", Message], None]

_GOODBYE_S: Final = 1.0


class Link(Asking):
    """Messages to and from one peer. Whatever is queued in one turn of the event loop leaves as one write.

    `run` owns the conversation; when it returns, the link is lost and every waiting request has failed. `began_s`: when
    its opening did.
    """

    def __init__(
        self,
        conversation: Conversation,
        peer: PeerInfo,
        began_s: float,
        config: LinksConfig,
        failed: boundary.Failed = boundary.log,
    ) -> None:
        super().__init__(peer)
        self._boundary = boundary.Boundary(f"what {peer.name} has said", failed, LinkLost, RemoteProtocolError)
        self.initiated = conversation.session.role is Role.INITIATOR
        self.left = False
        """The peer has said that it leaves the mesh."""
        self.parted = False
        """One of the two has said that it needs this link no more."""
        self._began_s = began_s
        self.stands_since_s = trio.current_time()
        self.used_s = self.stands_since_s
        """When something other than gossip was last said on it from here."""
        self.last_heard_s = -math.inf
        self._conversation = conversation
        self._config = config
        self._outbox = Outbox()
        self._owes_goodbye = False
        self._scope = trio.CancelScope()
        self._closed = trio.Event()

    def replaces(self, other: Link) -> bool:
        """Whether the peer has lost the other one: it is of an earlier boot, or it stood when the opening of this one
        began and the peer said that it had none. Of two that are opened together that could be said of each."""
        if other.peer.boot_id != self.peer.boot_id:
            return True
        return not self.peer.has_another and other.stands_since_s < self._began_s

    def __repr__(self) -> str:
        return f"<link to {self.peer.name}>"

    @property
    def lost(self) -> bool:
        return self.lost_because is not None

    def post(self, message: Message) -> None:
        """Raises LinkLost when the link is lost or leaving, or is lost now because the peer has not read for long."""
        if self.lost_because is not None or self._conversation.session.state is not State.READY:
            raise LinkLost(f"no link to {self.peer.name}")
        if not isinstance(message, GOSSIP):
            self.used_s = trio.current_time()
        self._queue(message)
        if self._outbox.queued_bytes > 2 * self._config.queue_bytes_max:
            unread = LinkLost(f"{self.peer.name} does not read what it is sent")
            self.lose(unread)
            raise unread

    async def send(self, message: Message) -> None:
        """Queues a message once there is room."""
        await self._outbox.wait_below(self._config.queue_bytes_max)
        self.post(message)

    def _queue(self, message: Message) -> None:
        self._outbox.put(self._conversation.session.send(message))

    def lose(self, error: PotluckError) -> None:
        """Ends the link now. The first reason stands."""
        if self.lost_because is None:
            self.lost_because = error
            self._scope.cancel()
            self._questions.end()

    @property
    def ended_in_order(self) -> bool:
        """Each has taken in all that the other had said on it."""
        return self._conversation.session.state is State.CLOSED

    async def disconnect(self, *, leaving: bool, reason: str) -> None:
        """A graceful end: what was queued is sent, and the peer has taken it in when this returns (or never will)."""
        if not self.lost and self._conversation.session.state is State.READY:
            self.parted = not leaving
            self._queue(DisconnectRequest(leaving, reason))
        if not self.lost:
            with trio.move_on_after(_GOODBYE_S):
                await self._closed.wait()
        self.lose(LinkLost(f"disconnected: {reason}"))

    async def run(self, dispatch: Dispatch) -> None:
        """Reads and writes until the link is lost; `lost_because` then says why."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self.guarded, self._outbox.run, self._conversation.stream)
                    await self.guarded(self._read, dispatch)
        finally:
            self.lose(LinkLost(f"the link to {self.peer.name} is closed"))
            self._closed.set()
            with trio.CancelScope(shield=True):
                await self._conversation.aclose()

    async def guarded(self, work: Callable[..., Any], *args: object) -> None:
        """The one place where a link's failure is caught, and a fault of ours in what it makes us do: here, and in
        tasks that the peer's messages start."""
        try:
            with self._boundary:
                await work(*args)
        except (LinkLost, RemoteProtocolError, InternalError) as error:
            self.lose(error)

    async def _read(self, dispatch: Dispatch) -> None:
        session = self._conversation.session

        def take(chunk: bytes) -> bool:
            """Whether that was all."""
            self.last_heard_s = trio.current_time()
            session.receive_bytes(chunk)
            while (message := session.next_event()) is not NEED_BYTES:
                self._take(message, dispatch)
            return session.state is State.CLOSED

        if not take(b""):  # the first messages may have come with the end of the opening
            await self._conversation.stream.receive_all(take)
        if self._owes_goodbye:
            with trio.move_on_after(_GOODBYE_S):  # if it is read
                await self._outbox.wait_empty()
        raise LinkLost("disconnected")

    def _take(self, message: Message, dispatch: Dispatch) -> None:
        if type(message) in ANSWER_TYPES:
            self._questions.answered(message)
        elif isinstance(message, DisconnectRequest):
            self.left = self.left or message.leaving
            self.parted = not self.left
            self._owes_goodbye = True
            self._queue(DisconnectAck())
            dispatch(self, message)
        elif not isinstance(message, DisconnectAck):
            dispatch(self, message)
