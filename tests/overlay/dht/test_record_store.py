"""One node's share of the records, against a dictionary with expiry."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.node.store import SqliteStore
from potluck.overlay.dht import store as store_module
from potluck.overlay.dht.records import LASTING, NAMESPACES, Draft, place_of, sign
from potluck.overlay.dht.store import RecordStore, Usage, size_bytes
from potluck.overlay.ids import distance, key_id
from potluck.overlay.wire.records import SET_RECORDS_MAX, Record

from ...strategies.identities import key

Slot = tuple[str, bytes, bytes]
KEYS = (b"", b"a", b"b", b"a\0b")
WRITERS = tuple(bytes([n]) * 32 for n in range(3))


class DictStore:
    """A `Store` whose every write is durable."""

    def __init__(self) -> None:
        self.entries: dict[tuple[str, bytes], bytes] = {}

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.entries[table, key] = value

    def delete(self, table: str, key: bytes) -> None:
        self.entries.pop((table, key), None)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self.entries.get((table, key))

    def scan(self, table: str, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        for (name, entry_key), value in sorted(self.entries.items()):
            if name == table and entry_key.startswith(prefix):
                yield entry_key, value

    async def commit(self) -> None: ...

    async def aclose(self) -> None: ...


def slot_of(record: Record) -> Slot:
    writer = record.publisher if NAMESPACES[record.namespace].several else b""
    return record.namespace, record.key, writer


namespaces = st.sampled_from(sorted(NAMESPACES))
lives_s = st.floats(0.5, 50) | st.just(LASTING)


class RecordStoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = DictStore()
        self.store = RecordStore(self.disk)
        self.now_s = 100.0
        self.model: dict[Slot, Record] = {}
        self.numbers = 0

    def alive(self) -> dict[Slot, Record]:
        return {slot: record for slot, record in self.model.items() if record.expires_at_s > self.now_s}

    @rule(
        namespace=namespaces,
        record_key=st.sampled_from(KEYS),
        writer=st.sampled_from(WRITERS),
        version=st.integers(0, 4),
        lives_s=lives_s,
        gone=st.booleans(),
    )
    def put(self, namespace: str, record_key: bytes, writer: bytes, version: int, lives_s: float, gone: bool) -> None:
        self.numbers += 1
        signature = self.numbers.to_bytes(64, "big")
        record = Record(namespace, record_key, b"", version, self.now_s + lives_s, writer, signature, gone)
        present = self.alive().get(slot_of(record))
        assert self.store.replaced_by(record) in (present, self.model.get(slot_of(record)))
        refused_for = self.store.put(self.now_s, record)
        if present is not None and (present.version, present.signature) > (version, signature):
            assert refused_for == present
        else:
            assert refused_for is None
            self.model[slot_of(record)] = record

    @rule(data=st.data())
    def put_the_same_again(self, data: st.DataObject) -> None:
        if alive := self.alive():
            assert self.store.put(self.now_s, data.draw(st.sampled_from(list(alive.values())))) is None

    @rule(data=st.data())
    def forget(self, data: st.DataObject) -> None:
        if alive := self.alive():
            slot, record = data.draw(st.sampled_from(list(alive.items())))
            self.store.forget(record)
            del self.model[slot]
            self.store.forget(record)

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(off_s=st.floats(0, 40))
    def restart(self, off_s: float) -> None:
        self.now_s += off_s
        self.store = RecordStore(self.disk)
        self.store.load(self.now_s)
        self.model = {slot: one for slot, one in self.alive().items() if NAMESPACES[one.namespace].persistent}
        assert len(self.disk.entries) == len(self.model), "what has expired is on no disk"

    @invariant()
    def it_holds_what_is_alive_and_nothing_else(self) -> None:
        self.store.expire(self.now_s)
        alive = self.alive()
        assert {slot_of(record): record for record in self.store} == alive
        assert len(self.store) == len(alive)
        for namespace in NAMESPACES:
            for record_key in KEYS:
                there = {slot_of(one): one for one in self.store.get(self.now_s, key_id(namespace, record_key))}
                assert there == {slot: one for slot, one in alive.items() if slot[:2] == (namespace, record_key)}

    @invariant()
    def it_knows_what_everybody_takes_of_it(self) -> None:
        usage: dict[bytes, Usage] = defaultdict(Usage)
        for record in self.store:
            usage[record.publisher].records += 1
            usage[record.publisher].size_bytes += size_bytes(record)
        assert self.store.usage == usage

    @invariant()
    def what_moves_is_listed_once_for_every_place(self) -> None:
        listed = self.store.range(bytes(20), 0, b"", 1000)
        moving = {place_of(record) for record in self.store if NAMESPACES[record.namespace].moves}
        assert [holding.place for holding in listed] == sorted(moving)


TestRecordStore = RecordStoreMachine.TestCase
TestRecordStore.settings = settings(stateful_step_count=50)


def filled(keys: Iterable[bytes]) -> RecordStore:
    store = RecordStore(DictStore())
    for n, record_key in enumerate(keys):
        store.put(0.0, Record("mem", record_key, b"", n, LASTING, bytes(32), n.to_bytes(64, "big")))
    return store


@given(keys=st.sets(st.binary(max_size=3), max_size=40), near=st.binary(min_size=20, max_size=20), data=st.data())
def test_a_range_is_paged_without_gaps_and_holds_what_shares_the_first_bits(
    keys: set[bytes], near: bytes, data: st.DataObject
) -> None:
    store = filled(sorted(keys))
    bits, size = data.draw(st.integers(0, 4)), data.draw(st.integers(1, 7))
    listed: list[bytes] = []
    while page := store.range(near, bits, listed[-1] if listed else b"", size):
        listed += [holding.place for holding in page]
    places = (key_id("mem", one) for one in keys)
    assert listed == sorted(place for place in places if distance(place, near) >> (160 - bits) == 0)


@given(data=st.data(), writers=st.sets(st.sampled_from(WRITERS), min_size=1))
def test_two_shelves_have_one_mark_exactly_when_they_hold_the_same(data: st.DataObject, writers: set[bytes]) -> None:
    def shelf(versions: dict[bytes, int]) -> RecordStore:
        store = RecordStore(DictStore())
        for writer, version in data.draw(st.permutations(list(versions.items()))):
            signature = writer[:32] + version.to_bytes(32, "big")
            store.put(0.0, Record("chunk", bytes(32), b"", version, 10.0, writer, signature))
        return store

    place = key_id("chunk", bytes(32))
    drawn = st.fixed_dictionaries({writer: st.integers(1, 2) for writer in sorted(writers)})
    one, other = data.draw(drawn), data.draw(drawn)
    marks = [shelf(versions).holding(place) for versions in (one, other)]
    assert marks[0] is not None
    assert marks[1] is not None
    assert (marks[0].mark == marks[1].mark) == (one == other)


def test_a_key_takes_so_many_holders_and_then_only_those_it_has() -> None:
    store = RecordStore(DictStore())
    crowd = [
        Record("chunk", bytes(32), b"", 1, 10.0, n.to_bytes(32, "big"), bytes(64)) for n in range(SET_RECORDS_MAX + 1)
    ]
    for record in crowd[:-1]:
        assert store.has_room(record)
        store.put(0.0, record)
    assert not store.has_room(crowd[-1])
    assert store.has_room(crowd[0])


def test_refreshing_a_record_for_ever_takes_no_more_room() -> None:
    store = RecordStore(DictStore())
    for n in range(5000):
        store.put(0.0, Record("load", b"k", b"", n, 10.0 + n, bytes(32), bytes(64)))
    assert len(store._expiries) < 200


@given(at=st.integers(0, 10_000), bit=st.integers(0, 7))
def test_a_record_that_the_disk_has_garbled_is_gone_and_its_neighbours_are_not(at: int, bit: int) -> None:
    disk = DictStore()
    store = RecordStore(disk)
    for n in (1, 2):
        store.put(0.0, sign(Draft("mem", b"%d" % n, b"value", n), key(1)))
    victim, written = max(disk.entries.items())
    garbled = bytearray(written)
    garbled[at % len(garbled)] ^= 1 << bit
    disk.entries[victim] = bytes(garbled)
    again = RecordStore(disk)
    again.load(0.0)
    assert [record.key for record in again] == [b"1"]
    assert len(disk.entries) == 1


def test_on_a_real_disk_a_restart_finds_what_was_committed() -> None:
    async def live_twice() -> None:
        with tempfile.TemporaryDirectory() as folder:
            disk = SqliteStore(Path(folder) / "state.db")
            store = RecordStore(disk)
            lasting = sign(Draft("mem", b"kept", b"v", 1), key(1))
            brief = sign(Draft("mem", b"brief", b"v", 1, expires_at_s=10.0), key(1))
            for record in (lasting, brief):
                assert store.put(0.0, record) is None
            await disk.commit()
            await disk.aclose()
            disk = SqliteStore(Path(folder) / "state.db")
            store = RecordStore(disk)
            store.load(20.0)
            assert list(store) == [lasting]
            await disk.aclose()

    trio.run(live_twice)


def test_a_page_costs_what_is_on_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not what is held beside: a share is told page by page, each within one turn of the event loop."""
    store = filled(number.to_bytes(2, "big") for number in range(1000))
    looked_at: list[bytes] = []

    def counted(one: bytes, other: bytes) -> int:
        looked_at.append(one)
        return distance(one, other)

    monkeypatch.setattr(store_module, "distance", counted)
    middle = store.range(bytes(20), 0, b"", 500)[-1].place
    looked_at.clear()
    assert len(store.range(bytes(20), 0, middle, 10)) == 10
    assert len(looked_at) <= 12
