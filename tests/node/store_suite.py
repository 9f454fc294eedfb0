"""What every `ports.Store` keeps to, on a disk or virtual: a machine that any implementation is run through."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.overlay.ports import Store

Tables = dict[str, dict[bytes, bytes]]

tables = st.sampled_from(["records", "jobs"])
keys = st.one_of(
    st.binary(max_size=3), st.builds(bytes.__add__, st.sampled_from([b"a", b"a\0", b"a\xff"]), st.binary(max_size=2))
)
values = st.binary(max_size=40)


class Place(Protocol):
    """Where a store lives on between its openings."""

    def open(self) -> Store: ...

    def run(self, work: Callable[[], Awaitable[None]]) -> None:
        """Runs async work in this place's kind of time."""

    def crash(self, store: Store) -> None:
        """The process dies: what was not committed may be gone, and nothing else."""

    def remove(self) -> None: ...


class StoreMachine(RuleBasedStateMachine):
    """Against plain dictionaries: one for what is seen, one for what must survive a crash."""

    place: Place

    def __init__(self) -> None:
        super().__init__()
        self.place = self.make_place()
        self.store = self.place.open()
        self.seen: Tables = {}
        self.durable: Tables = {}

    @staticmethod
    def make_place() -> Place:
        raise AssertionError("the test names the place")

    @rule(table=tables, key=keys, value=values)
    def put(self, table: str, key: bytes, value: bytes) -> None:
        self.store.put(table, key, value)
        self.seen.setdefault(table, {})[key] = value

    @rule(table=tables, key=keys)
    def delete(self, table: str, key: bytes) -> None:
        self.store.delete(table, key)
        self.seen.setdefault(table, {}).pop(key, None)

    @rule(table=tables, key=keys)
    def get(self, table: str, key: bytes) -> None:
        assert self.store.get(table, key) == self.seen.get(table, {}).get(key)

    @rule(table=tables, prefix=st.one_of(st.just(b""), keys))
    def scan(self, table: str, prefix: bytes) -> None:
        expected = sorted(item for item in self.seen.get(table, {}).items() if item[0].startswith(prefix))
        assert list(self.store.scan(table, prefix)) == expected

    @rule()
    def commit(self) -> None:
        self.place.run(self.store.commit)
        self.durable = {table: dict(items) for table, items in self.seen.items()}

    @rule()
    def close_and_open(self) -> None:
        """An orderly end keeps what was committed; what was not may be kept or not, and is committed first here."""
        self.commit()
        self.place.run(self.store.aclose)
        self.store = self.place.open()

    @rule()
    def crash(self) -> None:
        self.place.crash(self.store)
        self.store = self.place.open()
        self.seen = {table: dict(items) for table, items in self.durable.items()}

    @invariant()
    def everything_is_as_expected(self) -> None:
        for table in ("records", "jobs"):
            assert dict(self.store.scan(table)) == self.seen.get(table, {})

    def teardown(self) -> None:
        self.place.run(self.store.aclose)
        self.place.remove()
