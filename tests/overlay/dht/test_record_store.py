"""One node's share of the records, against a dictionary with expiry."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from pathlib import Path

import trio
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.node.store import SqliteStore
from potluck.overlay.dht.records import LASTING, NAMESPACES, Draft, sign
from potluck.overlay.dht.store import RecordStore
from potluck.overlay.wire.records import Record

from ...strategies.identities import key

Place = tuple[str, bytes]


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


places = st.tuples(st.sampled_from(sorted(NAMESPACES)), st.sampled_from([b"", b"a", b"b", b"a\0b"]))


class RecordStoreMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.disk = DictStore()
        self.store = RecordStore(self.disk)
        self.now_s = 100.0
        self.model: dict[Place, Record] = {}
        self.numbers = 0

    def alive(self) -> dict[Place, Record]:
        return {place: record for place, record in self.model.items() if record.expires_at_s > self.now_s}

    @rule(place=places, version=st.integers(0, 4), lives_s=st.floats(0.5, 50) | st.just(LASTING), gone=st.booleans())
    def put(self, place: Place, version: int, lives_s: float, gone: bool) -> None:
        self.numbers += 1
        signature = self.numbers.to_bytes(64, "big")
        record = Record(*place, b"", version, self.now_s + lives_s, bytes(32), signature, gone)
        present = self.alive().get(place)
        refused_for = self.store.put(self.now_s, record)
        if present is not None and (present.version, present.signature) > (version, signature):
            assert refused_for == present
        else:
            assert refused_for is None
            self.model[place] = record

    @rule(place=places)
    def put_the_same_again(self, place: Place) -> None:
        if (record := self.alive().get(place)) is not None:
            assert self.store.put(self.now_s, record) is None

    @rule(seconds=st.floats(0, 40))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(off_s=st.floats(0, 40))
    def restart(self, off_s: float) -> None:
        self.now_s += off_s
        self.store = RecordStore(self.disk)
        self.store.load(self.now_s)
        self.model = {place: one for place, one in self.alive().items() if NAMESPACES[one.namespace].persistent}
        assert len(self.disk.entries) == len(self.model), "what has expired is on no disk"

    @invariant()
    def it_holds_what_is_alive_and_nothing_else(self) -> None:
        self.store.expire(self.now_s)
        alive = self.alive()
        assert {(record.namespace, record.key): record for record in self.store} == alive
        assert len(self.store) == len(alive)
        for namespace in NAMESPACES:
            for record_key in (b"", b"a", b"b", b"a\0b"):
                assert self.store.get(self.now_s, namespace, record_key) == alive.get((namespace, record_key))


TestRecordStore = RecordStoreMachine.TestCase
TestRecordStore.settings = settings(stateful_step_count=50)


def test_refreshing_a_record_for_ever_takes_no_more_room() -> None:
    store = RecordStore(DictStore())
    for n in range(5000):
        store.put(0.0, Record("load", b"k", b"", n, 10.0 + n, bytes(32), bytes(64)))
    assert len(store._expiries) < 200


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
