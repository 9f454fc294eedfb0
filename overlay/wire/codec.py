"""Message bodies: msgpack of tagged, array-like structs, decoded by type and by nothing else."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import reduce
from operator import or_
from typing import Annotated, Any, Final, Generic, TypeVar

import msgspec
from msgspec import Meta

from ..errors import LocalProtocolError, RemoteProtocolError, UsageError
from .framing import CONTROL_FRAME_BYTES_MAX, HEADER_BYTES, FrameDecoder, encode_frame


class Message(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """Base of everything sent. Fields are only ever appended, with defaults: older peers ignore them.

    The small structs that come by the hundred thousand are `gc=False`: they cannot be part of a cycle, and the
    collector would spend a fifth of a task's time on looking.
    """


RawId = Annotated[bytes, Meta(min_length=20, max_length=20)]
Digest = Annotated[bytes, Meta(min_length=32, max_length=32)]
BootId = Annotated[bytes, Meta(min_length=16, max_length=16)]
ShortText = Annotated[str, Meta(max_length=256)]
NodeName = Annotated[str, Meta(max_length=63, pattern=r"^[A-Za-z0-9._-]*\Z")]
"""Shown on terminals and told on to others: nothing in it can act, and a full PEER_EXCHANGE fits into a frame."""
HostName = Annotated[str, Meta(max_length=253, pattern=r"^[A-Za-z0-9.:_-]*\Z")]
"""Handed to the system's resolver, which fails on other characters in ways of its own."""
LongText = Annotated[str, Meta(max_length=65_536)]
Count = Annotated[int, Meta(ge=0, lt=1 << 53)]
RequestId = Annotated[int, Meta(ge=0, lt=1 << 53)]
Priority = Annotated[int, Meta(ge=-(1 << 63) + 1, le=(1 << 63) - 1)]
"""Whoever puts the highest first turns its sign."""
Real = Annotated[float, Meta(ge=-float(1 << 53), le=float(1 << 53))]
"""A number, and a finite one: whoever reads it may add it, compare it and keep it in order."""
Span = Annotated[float, Meta(ge=0, le=float(1 << 53))]
"""A length of time, in seconds."""

M = TypeVar("M", bound=Message)


T = TypeVar("T")

UNPARSABLE: Final = (msgspec.MsgspecError, ValueError, RecursionError, OverflowError)
"""What decoding raises for bytes that others have made: a text that is no UTF-8 is none of msgspec's own errors."""


def decoded(decoder: msgspec.msgpack.Decoder[T], data: bytes, what: str) -> T:
    """What another node has written, or this one's disk has kept. Raises RemoteProtocolError, which names it `what`."""
    try:
        return decoder.decode(data)
    except UNPARSABLE as error:
        raise RemoteProtocolError(f"{what} does not parse: {error}") from error


class Codec(Generic[M]):
    """The messages of one conversation. Decoding raises RemoteProtocolError and nothing else."""

    def __init__(self, messages: Iterable[type[M]], *, body_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> None:
        self.messages = tuple(messages)
        self.body_bytes_max = body_bytes_max
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(reduce(or_, self.messages))

    def encode(self, message: M) -> bytes:
        """One whole frame. Raises LocalProtocolError if it would be too long or holds what the wire cannot carry."""
        try:
            body = self._encoder.encode(message)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            raise LocalProtocolError(f"{type(message).__name__} cannot be encoded: {error}") from error
        return encode_frame(body, body_bytes_max=self.body_bytes_max)

    def encode_checked(self, message: M) -> bytes:
        """One whole frame of what a person has said, which nobody has looked at. Raises UsageError for what its reader
        would not take, instead of losing the connection over it."""
        try:
            frame = self.encode(message)
            self._decoder.decode(memoryview(frame)[HEADER_BYTES:])
        except LocalProtocolError as error:
            raise UsageError(str(error)) from None
        except msgspec.ValidationError as error:
            raise UsageError(_with_field(message, str(error))) from None
        return frame

    def decode(self, body: bytes) -> M:
        try:
            message: M = self._decoder.decode(body)
        except UNPARSABLE as error:
            raise RemoteProtocolError(f"a message does not parse: {error}") from error
        return message

    def frames(self) -> FrameDecoder:
        return FrameDecoder(self.body_bytes_max)


def _with_field(message: Message, fault: str) -> str:
    """msgspec's words, with the name of the field instead of its place behind the tag: `$[2]`."""
    words, _, path = fault.partition(" - at ")
    place = re.match(r"`\$\[(\d+)\]", path)
    name = message.__struct_fields__[int(place[1]) - 1] if place else type(message).__name__
    if "matching regex" in words:
        return f"{name}: it has letters, digits, dots, dashes and underscores"
    return f"{name}: {words[:1].lower()}{words[1:]}"
