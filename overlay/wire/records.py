"""DHT: signed, versioned, expiring records, and the questions asked about them."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from .codec import Count, HostName, Message, RawId, RequestId, ShortText
from .framing import VALUE_BYTES_MAX
from .opening import Port

Namespace = Annotated[str, Meta(min_length=1, max_length=32)]
RecordKey = Annotated[bytes, Meta(max_length=1024)]
Version = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
"""Hybrid logical clock: milliseconds of mesh time × 2¹⁶ + counter (see `clock`)."""
RecordValue = Annotated[bytes, Meta(max_length=VALUE_BYTES_MAX)]


class Record(msgspec.Struct, frozen=True, array_like=True):
    """A value as its publisher signed it. The signature covers `dht.records.signed_bytes`."""

    namespace: Namespace
    key: RecordKey
    value: RecordValue
    version: Version
    expires_at_s: float
    """Mesh time; infinity for lasting records."""
    publisher: Annotated[bytes, Meta(min_length=32, max_length=32)]
    """Raw Ed25519 public key of the node that wrote it."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    deleted: bool = False
    """A tombstone: the key has no value, and this says since when."""
    agreed: bool = False
    """The key has become a register for ever; the value is what it began with."""


class Contact(msgspec.Struct, frozen=True, array_like=True):
    node_id: RawId
    host: HostName
    port: Port


Contacts = Annotated[list[Contact], Meta(max_length=64)]


class FindNode(Message, frozen=True, tag=30):
    """The `k` nearest contacts to `target` that the receiver knows. Answer: Nodes."""

    request: RequestId
    target: RawId


class Nodes(Message, frozen=True, tag=31):
    request: RequestId
    contacts: Contacts = []


class FindValue(Message, frozen=True, tag=32):
    """The receiver's copy of a record, and nearer contacts. Answer: Value."""

    request: RequestId
    namespace: Namespace
    key: RecordKey


class Value(Message, frozen=True, tag=33):
    request: RequestId
    records: Annotated[list[Record], Meta(max_length=64)] = []
    """At most one today; holder sets have several writers."""
    contacts: Contacts = []
    syncing: bool = False
    """The receiver still lacks part of its range: its silence means nothing."""


class Store(Message, frozen=True, tag=34):
    """Keep this record. Answered when it is durable. Repeats are harmless. Answer: Stored."""

    request: RequestId
    record: Record


class Stored(Message, frozen=True, tag=35):
    """`accepted`, or the wire code of a refusal; `newer` where the receiver holds a later version."""

    request: RequestId
    accepted: bool
    code: Count = 0
    reason: ShortText = ""
    newer: Record | None = None
