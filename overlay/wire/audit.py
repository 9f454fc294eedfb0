"""The audit log of a node: who has run whose what there, when, and with which result.

Entry n holds the SHA-256 of entry n-1 as it is encoded, so that the digest of the last one, the head, stands for all.
A node signs its head for others to keep: what they hold, it cannot rewrite unnoticed.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .codec import Count, Digest, Message, RawId, Real, RequestId, Span, decoded
from .work import JobName

RUNS_MAX: Final = 1024
HEADS_MAX: Final = 64
ENTRIES_MAX: Final = 64
"""In one answer."""
START: Final = bytes(32)
"""What the first entry holds for one before it."""

PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]
Signature = Annotated[bytes, Meta(min_length=64, max_length=64)]


class Run(msgspec.Struct, frozen=True, array_like=True, gc=False):
    index: Count
    attempt: Count
    started_s: Real
    """Mesh time."""
    elapsed_s: Span
    code: Count
    """0 for a value, else that of its fault."""
    result: Annotated[bytes, Meta(max_length=32)] = b""
    """SHA-256 of the value, as `layout.encode_inline` has it."""


class Entry(msgspec.Struct, frozen=True, array_like=True):
    number: Count
    """From 1."""
    previous: Digest
    at_s: Real
    owner: RawId
    """Whose work it was."""
    master: RawId
    """Which node gave it."""
    job: JobName
    program: Digest
    runs: Annotated[list[Run], Meta(max_length=RUNS_MAX)]


class Head(msgspec.Struct, frozen=True, array_like=True):
    """Signed by the node whose key it is."""

    public_key: PublicKey
    number: Count
    digest: Digest
    at_s: Real
    signature: Signature

    def signed_part(self) -> bytes:
        return signed_part(self.public_key, self.number, self.digest, self.at_s)


class AuditHead(Message, frozen=True, tag=65):
    """To some neighbours, by the node itself."""

    head: Head


class AskHeads(Message, frozen=True, tag=66):
    """What the receiver has been given by that node. Answer: Heads."""

    request: RequestId
    node_id: RawId


class Heads(Message, frozen=True, tag=67):
    request: RequestId
    heads: Annotated[list[Head], Meta(max_length=HEADS_MAX)] = []


class AskEntries(Message, frozen=True, tag=68):
    """Of the receiver's own log, from this number on. Answer: Entries."""

    request: RequestId
    first: Count


class Entries(Message, frozen=True, tag=69):
    request: RequestId
    first: Count
    """Of those that follow; later than asked for where older ones have been let go. 0: there are no more."""
    entries: Annotated[list[bytes], Meta(max_length=ENTRIES_MAX)] = []
    previous: Digest = START
    """Digest of the one before."""


_entry: Final = msgspec.msgpack.Decoder(Entry)
_head: Final = msgspec.msgpack.Decoder(Head)


def encode(part: Entry | Head) -> bytes:
    return msgspec.msgpack.encode(part)


def entry_in(data: bytes) -> Entry:
    """Raises RemoteProtocolError."""
    return decoded(_entry, data, "an audit entry")


def head_in(data: bytes) -> Head:
    """Raises RemoteProtocolError."""
    return decoded(_head, data, "an audit head")


def digest_of(entry: bytes) -> bytes:
    return hashlib.sha256(entry).digest()


def signed_part(public_key: bytes, number: int, digest: bytes, at_s: float) -> bytes:
    return msgspec.msgpack.encode(("potluck audit head", public_key, number, digest, at_s))
