"""Records: what their signature covers, and the one table of namespaces: who may write what, and which of two wins."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
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
TOMBSTONE_S: Final = 30 * 86_400.0
_SET_VALUE_BYTES_MAX: Final = 8 << 10
_HASH_BYTES: Final = 32

Rank = tuple[bool, int, bytes]


class Namespace(msgspec.Struct, frozen=True):
    """One row of the table. `may_write(record)`: whether the publisher may write this key. `rank(record)`: of two
    records of one key the higher wins; no two that differ have the same."""

    may_write: Callable[[Record], bool]
    rank: Callable[[Record], Rank]
    lives_max_s: float
    """How far off expiry may lie."""
    persistent: bool
    """Kept on disk, and an acknowledgement means that it is there."""
    several: bool = False
    """A holder set: a key has one record of each publisher, and a reader gets all of them."""
    moves: bool = True
    """Goes to the new holders when membership changes; else its publisher's next refreshment does it."""
    value_bytes_max: int = VALUE_BYTES_MAX

    def wins(self, one: Record, other: Record) -> bool:
        return self.rank(one) > self.rank(other)


def _own_key(record: Record) -> bool:
    """The key is the id of the node that publishes it."""
    return record.key == node_id_of(record.publisher)


def _any_member(record: Record) -> bool:
    return True


def _any_of_a_hash(record: Record) -> bool:
    """The key is a keyed hash: what does not come from who knows its key means nothing to them."""
    return len(record.key) == _HASH_BYTES


def _any_holder(record: Record) -> bool:
    """The key is a hash; who publishes under it speaks for itself alone."""
    return len(record.key) == _HASH_BYTES


def _newer(record: Record) -> Rank:
    """Later version; of two equal ones the larger signature, so that all replicas agree."""
    return False, record.version, record.signature


def _agreed_or_newer(record: Record) -> Rank:
    """No plain write comes after the key's register."""
    return record.agreed, record.version, record.signature


NAMESPACES: Final[dict[str, Namespace]] = {
    "node": Namespace(_own_key, _newer, lives_max_s=120.0, persistent=False, moves=False),
    "load": Namespace(_own_key, _newer, lives_max_s=60.0, persistent=False, moves=False),
    "mem": Namespace(_any_member, _agreed_or_newer, lives_max_s=LASTING, persistent=True),
    "chunk": Namespace(
        _any_holder,
        _newer,
        lives_max_s=1800.0,
        persistent=False,
        several=True,
        value_bytes_max=_SET_VALUE_BYTES_MAX,
    ),
    "result": Namespace(_any_of_a_hash, _newer, lives_max_s=86_400.0, persistent=False),
}


def has_further_copies(record: Record, small_value_bytes: int) -> bool:
    """Whether more than its holders keep it: small values, in the background, as long as they last."""
    return len(record.value) <= small_value_bytes and NAMESPACES[record.namespace].persistent


class Draft(msgspec.Struct, frozen=True):
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


def slot_of(record: Record) -> bytes:
    """Which of the records of one place this one may replace."""
    return record.publisher if NAMESPACES[record.namespace].several else b""


def refusal(record: Record, now_s: float, ahead_max_s: float) -> PotluckError | None:
    """Why a holder must not keep this record, or None. `now_s` is mesh time."""
    namespace = NAMESPACES.get(record.namespace)
    if namespace is None:
        return NotAllowed(f"namespace {record.namespace!r} is not known here")
    if len(record.value) > namespace.value_bytes_max:
        return LimitExceeded(f"a value of {len(record.value)} bytes exceeds {namespace.value_bytes_max}")
    if time_of(record.version) > now_s + ahead_max_s:
        return NotAllowed("the version lies in the future: the writer's clock is ahead of the mesh")
    if math.isnan(record.expires_at_s) or record.expires_at_s <= now_s:
        return NotAllowed("the record has expired")
    lives_max_s = min(namespace.lives_max_s, TOMBSTONE_S) if record.deleted else namespace.lives_max_s
    if record.expires_at_s > now_s + lives_max_s + ahead_max_s:
        return NotAllowed(f"a record of namespace {record.namespace!r} may not live so long")
    if not namespace.may_write(record):
        return NotAllowed(f"this publisher may not write this key of namespace {record.namespace!r}")
    if not signed_by(record.publisher, record.signature, signed_bytes(record)):
        return NotAllowed("the signature is wrong")
    return None


def winners(records: Iterable[Record]) -> list[Record]:
    """Of records of one key: the one that wins over all others, or of a holder set the newest of each publisher."""
    best: dict[bytes, Record] = {}
    for record in records:
        slot = slot_of(record)
        if slot not in best or NAMESPACES[record.namespace].wins(record, best[slot]):
            best[slot] = record
    return list(best.values())
