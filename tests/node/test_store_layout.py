"""The node's state on disk: quick however long the values are, and taken over from how it was laid out before."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.store import SqliteStore, lay_out

OLD = "CREATE TABLE entries (name TEXT, key BLOB, value BLOB, PRIMARY KEY (name, key)) WITHOUT ROWID"
LONG_BYTES = 1 << 20


def laid_out_before(path: Path, values: int, size_bytes: int = 1000) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute(OLD)
    rows = (("t", b"%06d" % number, bytes(size_bytes)) for number in range(values))
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO entries VALUES (?, ?, ?)", rows)
    connection.execute("COMMIT")
    return connection


def layout_of(path: Path) -> tuple[str, int, int]:
    connection = sqlite3.connect(path)
    try:
        (schema,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = 'entries'").fetchone()
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        (auto_vacuum,) = connection.execute("PRAGMA auto_vacuum").fetchone()
        return schema, version, auto_vacuum
    finally:
        connection.close()


def test_what_was_laid_out_before_is_laid_out_anew_once_with_all_that_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    laid_out_before(path, 500).close()
    store = SqliteStore(path)
    assert [(key, len(value)) for key, value in store.scan("t")] == [(b"%06d" % number, 1000) for number in range(500)]
    trio.run(store.aclose)
    schema, version, auto_vacuum = layout_of(path)
    assert "WITHOUT ROWID" not in schema
    assert (version, auto_vacuum) == (1, 2)
    trio.run(SqliteStore(path).aclose)
    assert layout_of(path) == (schema, version, auto_vacuum)


def test_without_room_for_it_everything_stays_as_it_was(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "state.db"
    connection = laid_out_before(path, 500)
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    lay_out(connection)
    assert "stays as it was laid out" in caplog.text
    connection.execute("INSERT INTO entries VALUES ('t', x'00', x'01')")
    connection.close()
    schema, version, _auto_vacuum = layout_of(path)
    assert "WITHOUT ROWID" in schema
    assert version == 0
    store = SqliteStore(path)  # now there is room
    assert store.get("t", b"\0") == b"\1"
    assert len(list(store.scan("t"))) == 501
    trio.run(store.aclose)


def test_to_find_that_a_key_is_not_there_reads_no_long_values(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def filled() -> None:
        store = SqliteStore(path)
        for number in range(32):
            store.put("long", b"%06d" % (2 * number), bytes(LONG_BYTES))
        await store.commit()
        await store.aclose()

    trio.run(filled)
    store = SqliteStore(path)
    before_bytes = read_bytes()
    assert all(store.get("long", b"%06d" % (2 * number + 1)) is None for number in range(32))
    assert read_bytes() - before_bytes < LONG_BYTES
    trio.run(store.aclose)


def read_bytes() -> int:
    """By this process so far, from files or what the system keeps of them."""
    line = next(line for line in Path("/proc/self/io").read_text().splitlines() if line.startswith("rchar"))
    return int(line.split()[1])


@given(
    st.sets(st.binary(max_size=3).map(lambda key: key.replace(b"a", b"\xff")), max_size=20),
    st.binary(max_size=2).map(lambda key: key.replace(b"b", b"\xff")),
)
def test_a_scan_finds_all_keys_that_begin_so_and_no_others(
    tmp_path_factory: pytest.TempPathFactory, keys: set[bytes], prefix: bytes
) -> None:
    async def found() -> list[bytes]:
        store = SqliteStore(tmp_path_factory.mktemp("scan") / "state.db")
        for key in keys:
            store.put("t", key, b"")
        store.put("u", prefix, b"")
        await store.commit()
        try:
            return [key for key, _value in store.scan("t", prefix)]
        finally:
            await store.aclose()

    assert trio.run(found) == sorted(key for key in keys if key.startswith(prefix))
