"""DHT: signed, versioned, expiring records, and the questions asked about them."""

from __future__ import annotations

import math
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .codec import Count, HostName, Message, RawId, RequestId, ShortText
from .framing import VALUE_BYTES_MAX
from .opening import CertificateDer, Port

Namespace = Annotated[str, Meta(min_length=1, max_length=32)]
RecordKey = Annotated[bytes, Meta(max_length=1024)]
VERSION_MAX: Final = (1 << 63) - 1
Version = Annotated[int, Meta(ge=0, le=VERSION_MAX)]
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


SET_RECORDS_MAX: Final = 64
"""Writers of one holder set; with the largest values that such a set takes they fit into one frame."""
BATCH_MAX: Final = 256
LISTED_MAX: Final = 4096
VIEW_MAX: Final = 64

Records = Annotated[list[Record], Meta(max_length=SET_RECORDS_MAX)]


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
    records: Records = []
    """At most one, but for holder sets, which have several writers."""
    contacts: Contacts = []
    syncing: bool = False
    """The receiver may still lack what belongs here: its silence means nothing, and it counts in no majority."""


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


class StoreMany(Message, frozen=True, tag=36):
    """Several `Store` in one; together they are no longer than one value of the largest size. Answer: StoredMany."""

    request: RequestId
    records: Annotated[list[Record], Meta(max_length=BATCH_MAX)] = []


class Verdict(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """As `Stored` says it of one; `newer` is left to a `Store` of this record alone."""

    accepted: bool
    code: Count = 0
    reason: ShortText = ""


class StoredMany(Message, frozen=True, tag=37):
    """One verdict for each record, in order."""

    request: RequestId
    verdicts: Annotated[list[Verdict], Meta(max_length=BATCH_MAX)] = []


class Fetch(Message, frozen=True, tag=38):
    """What the receiver holds at these places. Answer: Fetched."""

    request: RequestId
    places: Annotated[list[RawId], Meta(max_length=BATCH_MAX)] = []
    stale: bool = False
    """Also what may have been deleted while the receiver was away: the sender has compared, and wants it."""


class Fetched(Message, frozen=True, tag=39):
    """Everything at the first `covered` of the places: as many as one frame holds, at least one."""

    request: RequestId
    covered: Count
    records: Annotated[list[Record], Meta(max_length=LISTED_MAX)] = []
    syncing: Annotated[list[RawId], Meta(max_length=BATCH_MAX)] = []
    """Those of them of which the receiver's silence means nothing."""


class ListRange(Message, frozen=True, tag=45):
    """What the receiver holds of the places that share their first `bits` with the asker's id. Answer: Range."""

    request: RequestId
    bits: Annotated[int, Meta(ge=0, le=160)] = 0
    after: Annotated[bytes, Meta(max_length=20)] = b""
    """Go on behind this place."""


class Holding(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True, gc=False):
    """What stands at one place, in short."""

    place: RawId
    version: Version
    """The latest there."""
    mark: Annotated[bytes, Meta(min_length=8, max_length=8)]
    """Of everything there: who has the same mark has the same."""
    agreed: bool = False
    several: bool = False
    """A holder set: what others have is added, not weighed against it."""
    stale: bool = False
    """Older than a tombstone lives, and its deletion may have passed the sender by."""


class Range(Message, frozen=True, tag=46):
    request: RequestId
    holdings: Annotated[list[Holding], Meta(max_length=LISTED_MAX)] = []
    """In order of place."""
    more: bool = False
    since_s: float = math.inf
    """Mesh time from which on the sender was never away for as long as a tombstone lives: what was there then and is
    lacking now has been deleted. Infinity for one that may have missed a deletion."""
    left_s: float = -math.inf
    """When it was last in company; minus infinity for one that never was."""
    view: Annotated[list[RawId], Meta(max_length=VIEW_MAX)] = []
    """Those near it when it last had all of its share."""


class FindChain(Message, frozen=True, tag=47):
    """The certificates of a publisher whose records the receiver sends or holds. Answer: Chain."""

    request: RequestId
    publisher: Annotated[bytes, Meta(min_length=32, max_length=32)]


class Chain(Message, frozen=True, tag=48):
    """Leaf first, root left out; empty when it is not known."""

    request: RequestId
    certificates: Annotated[list[CertificateDer], Meta(max_length=9)] = []
