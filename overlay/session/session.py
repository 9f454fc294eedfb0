"""One side of a link as a sans-I/O machine: feed it bytes, ask it for messages, give it messages to send.

Its only errors: RemoteProtocolError when the peer broke the protocol (the link must be dropped; every later call
raises it again) and LocalProtocolError when we were about to (nothing has changed).
"""

from __future__ import annotations

from enum import Enum, auto
from typing import Final, Literal

from ..errors import LocalProtocolError, RemoteProtocolError
from ..wire.bans import Bans
from ..wire.codec import Message
from ..wire.framing import CONTROL_FRAME_BYTES_MAX, OPENING_FRAME_BYTES_MAX, FrameDecoder
from ..wire.opening import ConnectAck, ConnectRequest, Handshake, HandshakeResponse
from ..wire.peer import PEER
from .states import TRANSITIONS, Direction, Role, State


class _Sentinel(Enum):
    NEED_BYTES = auto()


NEED_BYTES: Final = _Sentinel.NEED_BYTES
_OPEN: Final = frozenset({State.READY, State.BULK})


class Session:
    def __init__(self, role: Role) -> None:
        self.role = role
        self.state = State.OPENING
        self._table = TRANSITIONS[role]
        self._moves = self._table[State.OPENING]
        self._frames = FrameDecoder(OPENING_FRAME_BYTES_MAX)
        self._bulk = False
        self._ban_digest = b""
        self._broken: RemoteProtocolError | None = None

    def receive_bytes(self, chunk: bytes) -> None:
        """Buffers; never fails on content."""
        self._frames.feed(chunk)

    def next_event(self) -> Message | Literal[_Sentinel.NEED_BYTES]:
        """The next whole, legal message of the peer."""
        if self._broken is not None:
            raise self._broken
        try:
            body = self._frames.next_body()
            if body is None:
                return NEED_BYTES
            message = PEER.decode(body)
            if not self._move(Direction.RECEIVED, message):
                raise RemoteProtocolError(f"{type(message).__name__} may not be sent in state {self.state.name}")
        except RemoteProtocolError as error:
            self._broken = error
            raise
        return message

    def take_unframed(self) -> bytes:
        """What has come behind the last message, if that says that bytes follow in no frame."""
        return self._frames.take_rest()

    def send(self, message: Message) -> bytes:
        """The frame to put on the wire, in this order."""
        frame = PEER.encode(message)
        if not self._move(Direction.SENT, message):
            raise LocalProtocolError(f"{type(message).__name__} may not be sent in state {self.state.name}")
        return frame

    def _move(self, direction: Direction, message: Message) -> bool:
        following = self._moves.get((direction, type(message)))
        if following is None:
            return False
        if following is not self.state:
            self._enter(self._refine(following, message))
        return True

    def _refine(self, following: State, message: Message) -> State:
        """What the table leaves to the content: a refusal, whether bans are to be compared, and whether the connection
        is for objects."""
        match message:
            case ConnectRequest():
                self._bulk = message.purpose == "bulk"
            case ConnectAck(accepted=False):
                return State.REFUSED
            case Handshake():
                self._ban_digest = message.ban_digest
            case HandshakeResponse() if message.ban_digest != self._ban_digest:
                return State.TELLING_BANS if self.role is Role.INITIATOR else State.HEARING_BANS
            case Bans(more=True):
                return self.state
        return State.BULK if following is State.READY and self._bulk else following

    def _enter(self, state: State) -> None:
        self.state = state
        self._moves = self._table[state]
        if state in _OPEN:
            self._frames.body_bytes_max = CONTROL_FRAME_BYTES_MAX
