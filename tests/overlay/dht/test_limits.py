"""What one member may take of a node, against plain sums."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.config import Dht as DhtConfig
from potluck.overlay.dht.limits import Limits
from potluck.overlay.dht.records import LASTING
from potluck.overlay.dht.store import Usage, size_bytes
from potluck.overlay.errors import LimitExceeded, QuotaExceeded, Unavailable
from potluck.overlay.ids import NodeId, OwnerId
from potluck.overlay.wire.records import Record

CONFIG = msgspec.structs.replace(
    DhtConfig(), stores_max=8, stores_peer_max=4, owner_stores_per_s=20, owner_records_max=3, owner_bytes_max=2000
)
ALICE, BOB = OwnerId(b"a" * 20), OwnerId(b"b" * 20)


def peer(number: int) -> NodeId:
    return NodeId(bytes([number]) * 20)


def record(size: int) -> Record:
    return Record("mem", b"k", bytes(size), 1, LASTING, bytes(32), bytes(64))


@given(steps=st.lists(st.tuples(st.integers(1, 4), st.integers(1, 3), st.booleans()), max_size=40))
def test_stores_under_way_never_exceed_what_a_peer_and_all_together_may_have(
    steps: list[tuple[int, int, bool]],
) -> None:
    limits = Limits(msgspec.structs.replace(CONFIG, owner_stores_per_s=10_000))
    under_way: list[tuple[int, int]] = []
    for number, records, ends in steps:
        if ends and under_way:
            limits.end(peer(under_way[0][0]), under_way[0][1])
            del under_way[0]
            continue
        mine = sum(count for one, count in under_way if one == number)
        fits = mine + records <= 4 and sum(count for _, count in under_way) + records <= 8
        error = limits.begin(0.0, peer(number), ALICE, records)
        assert (error is None) == fits
        if fits:
            under_way.append((number, records))
        else:
            assert isinstance(error, Unavailable)


@given(pauses=st.lists(st.floats(0, 0.2), max_size=60))
def test_an_owner_gets_its_rate_and_no_more_however_many_nodes_it_has(pauses: list[float]) -> None:
    limits, now_s, taken = Limits(CONFIG), 100.0, 0
    for number, pause_s in enumerate(pauses):
        now_s += pause_s
        if limits.begin(now_s, peer(number), ALICE, 1) is None:
            limits.end(peer(number), 1)
            taken += 1
    allowed = CONFIG.owner_stores_per_s * (1 + sum(pauses))
    assert taken <= allowed + 1e-6
    assert taken == len(pauses) or taken >= CONFIG.owner_stores_per_s
    assert limits.begin(now_s, peer(1), BOB, 1) is None, "others have theirs"


def test_records_and_bytes_of_one_owner_end_at_its_quota() -> None:
    limits = Limits(CONFIG)
    assert limits.room(record(10), None, [Usage(1, 500), Usage(1, 500)]) is None
    assert isinstance(limits.room(record(10), None, [Usage(2, 500), Usage(1, 500)]), LimitExceeded)
    assert isinstance(limits.room(record(1000), None, [Usage(1, 900)]), QuotaExceeded)


@given(before=st.integers(0, 3000), after=st.integers(0, 3000))
def test_whoever_is_at_the_limit_can_still_make_what_it_has_smaller(before: int, after: int) -> None:
    limits = Limits(CONFIG)
    full = [Usage(CONFIG.owner_records_max, CONFIG.owner_bytes_max)]
    refused = limits.room(record(after), record(before), full)
    assert (refused is None) == (size_bytes(record(after)) <= size_bytes(record(before)))
