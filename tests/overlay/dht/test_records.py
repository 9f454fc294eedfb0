"""Who may write what, and which of two records wins."""

from __future__ import annotations

import itertools
import math
from functools import cache

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.clock import version_at
from potluck.overlay.dht.records import LASTING, NAMESPACES, TOMBSTONE_S, Draft, refusal, sign, winners
from potluck.overlay.errors import LimitExceeded, NotAllowed
from potluck.overlay.ids import node_id_of
from potluck.overlay.wire.framing import VALUE_BYTES_MAX
from potluck.overlay.wire.records import Record

from ...strategies.identities import key
from ...strategies.messages import of_type

NOW_S = 1_700_000_000.0
AHEAD_MAX_S = 60.0
namespaces = st.sampled_from(sorted(NAMESPACES))
ages_s = st.floats(-1e6, AHEAD_MAX_S - 1)


def judged(record: Record) -> type[Exception] | None:
    error = refusal(record, NOW_S, AHEAD_MAX_S)
    return None if error is None else type(error)


@st.composite
def drafts(draw: st.DrawFn, writer: int = 1) -> Draft:
    """What the holder of a key may write now."""
    namespace = draw(namespaces)
    deleted = draw(st.booleans())
    longest_s = min(NAMESPACES[namespace].lives_max_s, TOMBSTONE_S if deleted else 1e9)
    for_ever = NAMESPACES[namespace].persistent and not deleted
    lives_s = draw(st.floats(0.1, longest_s) | st.just(LASTING if for_ever else longest_s))
    hashes = st.binary(min_size=32, max_size=32)
    keys = {"mem": st.binary(max_size=40), "chunk": hashes, "result": hashes}
    return Draft(
        namespace,
        draw(keys.get(namespace, st.just(node_id_of(key(writer).public)))),
        draw(st.binary(max_size=40)),
        version_at(NOW_S + draw(ages_s)),
        NOW_S + lives_s,
        deleted=deleted,
    )


@given(draft=drafts())
def test_what_a_member_may_write_is_taken(draft: Draft) -> None:
    assert judged(sign(draft, key(1))) is None


@given(draft=drafts(), data=st.data())
def test_a_record_with_any_field_changed_is_refused(draft: Draft, data: st.DataObject) -> None:
    record = sign(draft, key(1))
    other = data.draw(of_type(Record))
    name = data.draw(st.sampled_from(Record.__struct_fields__))
    if getattr(other, name) != getattr(record, name):
        assert judged(msgspec.structs.replace(record, **{name: getattr(other, name)})) is not None


@given(draft=drafts(), bit=st.integers(0, 511))
def test_a_signature_with_a_flipped_bit_is_refused(draft: Draft, bit: int) -> None:
    record = sign(draft, key(1))
    flipped = bytearray(record.signature)
    flipped[bit // 8] ^= 1 << bit % 8
    assert judged(msgspec.structs.replace(record, signature=bytes(flipped))) is NotAllowed


@given(draft=drafts(), swap=st.sampled_from(["key", "value"]))
def test_bytes_cannot_move_from_one_field_into_another(draft: Draft, swap: str) -> None:
    record = sign(msgspec.structs.replace(draft, namespace="mem", value=b"ab", expires_at_s=LASTING), key(1))
    moved = {"key": record.key + b"a", "value": b"b"} if swap == "key" else {"key": b"", "value": record.key + b"ab"}
    if moved["key"] != record.key:
        assert judged(msgspec.structs.replace(record, **moved)) is NotAllowed


@given(ahead_s=st.floats(AHEAD_MAX_S + 0.01, 1e9))
def test_a_version_from_the_future_is_refused(ahead_s: float) -> None:
    record = sign(Draft("mem", b"k", b"v", version_at(NOW_S + ahead_s)), key(1))
    assert judged(record) is NotAllowed


def test_a_version_at_the_bound_is_taken_and_the_largest_there_is_refused() -> None:
    assert judged(sign(Draft("mem", b"k", b"v", version_at(NOW_S + AHEAD_MAX_S)), key(1))) is None
    assert judged(sign(Draft("mem", b"k", b"v", (1 << 63) - 1), key(1))) is NotAllowed


@pytest.mark.parametrize("expires_at_s", [NOW_S, NOW_S - 1, 0.0, -math.inf, math.nan])
def test_what_has_expired_is_refused(expires_at_s: float) -> None:
    assert judged(sign(Draft("mem", b"k", b"v", version_at(NOW_S), expires_at_s), key(1))) is NotAllowed


@pytest.mark.parametrize("namespace", ["node", "load"])
def test_a_node_writes_its_own_key_only_and_not_for_ever(namespace: str) -> None:
    own, other = (node_id_of(key(n).public) for n in (1, 2))
    soon_s = NOW_S + 15
    assert judged(sign(Draft(namespace, own, b"", version_at(NOW_S), soon_s), key(1))) is None
    assert judged(sign(Draft(namespace, other, b"", version_at(NOW_S), soon_s), key(1))) is NotAllowed
    assert judged(sign(Draft(namespace, own, b"", version_at(NOW_S)), key(1))) is NotAllowed


def test_a_tombstone_lives_no_longer_than_others_remember() -> None:
    for lives_s, taken in ((TOMBSTONE_S, True), (TOMBSTONE_S + 2 * AHEAD_MAX_S, False), (LASTING, False)):
        tombstone = sign(Draft("mem", b"k", b"", version_at(NOW_S), NOW_S + lives_s, deleted=True), key(1))
        assert (judged(tombstone) is None) == taken


def test_who_holds_chunks_speaks_under_a_hash_and_is_brief() -> None:
    def holder(record_key: bytes, value: bytes) -> Record:
        return sign(Draft("chunk", record_key, value, version_at(NOW_S), NOW_S + 1800), key(1))

    assert judged(holder(bytes(32), b"bitmap")) is None
    assert judged(holder(bytes(31), b"bitmap")) is NotAllowed
    assert judged(holder(bytes(32), bytes(8193))) is LimitExceeded


def test_unknown_namespaces_and_values_beyond_the_limit_are_refused() -> None:
    assert judged(sign(Draft("nodes", b"k", b"v", version_at(NOW_S)), key(1))) is NotAllowed
    assert judged(sign(Draft("mem", b"k", bytes(VALUE_BYTES_MAX + 1), version_at(NOW_S)), key(1))) is LimitExceeded


@cache
def _signed(version: int, value: bytes, writer: int) -> Record:
    return sign(Draft("mem", b"k", value, version), key(writer))


rivals = st.lists(
    st.builds(_signed, st.integers(0, 3), st.sampled_from([b"", b"a", b"b"]), st.integers(1, 3)), max_size=6
)


@given(records=rivals, data=st.data())
def test_all_replicas_agree_on_the_newest_in_whatever_order_records_come(
    records: list[Record], data: st.DataObject
) -> None:
    best = winners(records)
    assert winners(data.draw(st.permutations(records))) == best
    assert winners([*records, *records]) == best
    cut = data.draw(st.integers(0, len(records)))
    assert winners([*winners(records[:cut]), *winners(records[cut:])]) == best
    assert len(best) == bool(records)


@given(records=rivals)
def test_of_two_different_records_exactly_one_wins(records: list[Record]) -> None:
    wins = NAMESPACES["mem"].wins
    for one, other in itertools.combinations(records, 2):
        assert wins(one, other) + wins(other, one) == (one != other)
        assert not wins(one, one)
