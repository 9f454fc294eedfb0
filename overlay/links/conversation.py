"""A stream with its session: messages in, messages out."""

from __future__ import annotations

from collections.abc import Callable

from ..errors import LinkLost, RemoteProtocolError
from ..ports import Stream
from ..session.session import NEED_BYTES, Session
from ..session.states import Role
from ..wire.codec import Message


class Conversation:
    """For one reader and one writer at a time. A broken stream raises LinkLost, a broken rule RemoteProtocolError."""

    def __init__(self, stream: Stream, role: Role) -> None:
        self.stream = stream
        self.session = Session(role)

    async def send(self, message: Message) -> None:
        await self.stream.send_all(self.session.send(message))

    async def receive(self) -> Message:
        while True:
            message = self.session.next_event()
            if message is not NEED_BYTES:
                return message
            await self.receive_bytes()

    async def receive_bytes(self) -> None:
        """At least one more byte into the session."""
        chunk = await self.stream.receive_some()
        if not chunk:
            raise LinkLost(f"{self.stream.remote} closed the connection")
        self.session.receive_bytes(chunk)

    async def receive_unframed(self, size_bytes: int, take: Callable[[bytes | memoryview], None]) -> None:
        """So many bytes, which the last message has announced; each piece is lent for the call. Raises
        RemoteProtocolError where more come."""
        left_bytes = size_bytes

        def is_all(piece: bytes | memoryview) -> bool:
            nonlocal left_bytes
            left_bytes -= len(piece)
            if left_bytes < 0:
                raise RemoteProtocolError("more came than was announced")
            take(piece)
            return not left_bytes

        if is_all(self.session.take_unframed()):
            return
        await self.stream.receive_long(is_all)
        if left_bytes:
            raise LinkLost(f"{self.stream.remote} closed the connection")

    async def aclose(self) -> None:
        await self.stream.aclose()
