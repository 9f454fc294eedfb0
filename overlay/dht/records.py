"""Records: what their signature covers, and the one table of namespaces: who may write what, and which of two wins."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import msgspec

from ..clock import time_of
from ..errors import LimitExceeded, NotAllowed, PotluckError
from ..identity.keys import KeyPair, signed_by
from ..ids import key_id, node_id_of
from ..wire.framing import VALUE_BYTES_MAX
from ..wire.records import Record

_SIGNED_AS: Final = b"potluck record 1\0"
LASTING: Final = math.inf


@dataclass(frozen=True)
class Namespace:
    """`may_write(record)`: whether the publisher may write this key. `lives_max_s`: how far off expiry may lie.

    `wins(one, other)`: whether `one` replaces `other`.
    """

    may_write: Callable[[Record], bool]
    wins: Callable[[Record, Record], bool]
    lives_max_s: float
    persistent: bool
    """Kept on disk, and an acknowledgement means that it is there."""


def _own_key(record: Record) -> bool:
    """The key is the id of the node that publishes it."""
    return record.key == node_id_of(record.publisher)


def _any_member(record: Record) -> bool:
    return True


def _newer(one: Record, other: Record) -> bool:
    """Later version; of two equal ones the larger signature, so that all replicas agree."""
    return (one.version, one.signature) > (other.version, other.signature)


def _agreed_or_newer(one: Record, other: Record) -> bool:
    """No plain write comes after the key's register."""
    return (one.agreed, one.version, one.signature) > (other.agreed, other.version, other.signature)


NAMESPACES: Final[dict[str, Namespace]] = {
    "node": Namespace(_own_key, _newer, lives_max_s=120.0, persistent=False),
    "load": Namespace(_own_key, _newer, lives_max_s=60.0, persistent=False),
    "mem": Namespace(_any_member, _agreed_or_newer, lives_max_s=LASTING, persistent=True),
}


@dataclass(frozen=True)
class Draft:
    """A record before it is signed."""

    namespace: str
    key: bytes
    value: bytes
    version: int
    expires_at_s: float = LASTING
    deleted: bool = False
    agreed: bool = False


def sign(draft: Draft, key: KeyPair) -> Record:
    unsigned = Record(
        draft.namespace,
        draft.key,
        draft.value,
        draft.version,
        draft.expires_at_s,
        key.public,
        bytes(64),
        draft.deleted,
        draft.agreed,
    )
    return msgspec.structs.replace(unsigned, signature=key.sign(signed_bytes(unsigned)))


def signed_bytes(record: Record) -> bytes:
    """Every field but the signature, unambiguously."""
    fields = (
        record.namespace,
        record.key,
        record.value,
        record.version,
        record.expires_at_s,
        record.publisher,
        record.deleted,
    )
    more = (record.agreed,) if record.agreed else ()
    return _SIGNED_AS + msgspec.msgpack.encode(fields + more)


def place_of(record: Record) -> bytes:
    return key_id(record.namespace, record.key)


def refusal(record: Record, now_s: float, ahead_max_s: float) -> PotluckError | None:
    """Why a holder must not keep this record, or None. `now_s` is mesh time."""
    namespace = NAMESPACES.get(record.namespace)
    if namespace is None:
        return NotAllowed(f"namespace {record.namespace!r} is not known here")
    if len(record.value) > VALUE_BYTES_MAX:
        return LimitExceeded(f"a value of {len(record.value)} bytes exceeds {VALUE_BYTES_MAX}")
    if time_of(record.version) > now_s + ahead_max_s:
        return NotAllowed("the version lies in the future: the writer's clock is ahead of the mesh")
    if math.isnan(record.expires_at_s) or record.expires_at_s <= now_s:
        return NotAllowed("the record has expired")
    if record.expires_at_s > now_s + namespace.lives_max_s + ahead_max_s:
        return NotAllowed(f"a record of namespace {record.namespace!r} may not live so long")
    if not namespace.may_write(record):
        return NotAllowed(f"this publisher may not write this key of namespace {record.namespace!r}")
    if not signed_by(record.publisher, record.signature, signed_bytes(record)):
        return NotAllowed("the signature is wrong")
    return None


def newest(records: list[Record]) -> Record | None:
    """The one that wins over all others of the same key."""
    best: Record | None = None
    for record in records:
        if best is None or NAMESPACES[record.namespace].wins(record, best):
            best = record
    return best
