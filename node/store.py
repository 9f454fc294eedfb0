"""`ports.Store` on SQLite: write-ahead log, and every commit on disk before it returns.

What the disk does not give back is a ConfigError, which ends the node with one line. The remedy is to begin anew with
another key: a node that came back under its old one without what it had promised could break agreements.
"""

from __future__ import annotations

import logging
import resource
import shutil
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final

import trio

from ..overlay.descriptors import check_room, words_of
from ..overlay.errors import ConfigError, Unavailable
from ..overlay.threads import beside

logger = logging.getLogger("potluck.node")

_LAYOUT: Final = 1
"""Of what is on disk; what is older is laid out anew at a start."""
_CREATE: Final = "CREATE TABLE entries (name TEXT, key BLOB, value BLOB, PRIMARY KEY (name, key));"
"""With row ids: in an index that holds the rows themselves every look for a key reads whole values on its way."""
_SET_ASIDE: Final = "ALTER TABLE entries RENAME TO laid_out_before;"
_TAKE_OVER: Final = """
INSERT INTO entries SELECT name, key, value FROM laid_out_before;
DROP TABLE laid_out_before;
"""
_SCAN: Final = "SELECT key, value FROM entries WHERE name = ? AND key >= ?"
_SCAN_UNTIL: Final = f"{_SCAN} AND key < ?"

_PRIMARY_CODE: Final = 0xFF
"""Of an error of SQLite; the rest says more of it."""
_DESCRIPTORS: Final = 8
"""SQLite opens no more at once."""
_ROOM_BYTES_MIN: Final = 64 << 10
"""With less on its disk SQLite cannot even begin."""
_JOURNAL_BYTES_MAX: Final = 16 << 20
_FREE_PAGES_MAX: Final = 4096
_FREED_PAGES: Final = 8192
"""At once, with the writes of a commit: what was large and is gone is given back to the disk little by little."""

Batch = dict[tuple[str, bytes], bytes | None]
"""New values by table and key; None deletes."""


class SqliteStore:
    """Writes gather in memory until a commit hands them to a thread, which alone uses the writing connection. Callers
    that commit at the same time share one transaction and one fsync."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._readable():
            self._writer = _prepared(sqlite3.connect(path, isolation_level=None, check_same_thread=False))
            self._reader = sqlite3.connect(path, isolation_level=None)
        self._pending: Batch = {}
        self._being_written: Batch = {}
        self._committing = trio.Lock()

    def _readable(self) -> AbstractContextManager[None]:
        return _readable(self._path)

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._pending[table, key] = value

    def delete(self, table: str, key: bytes) -> None:
        self._pending[table, key] = None

    def get(self, table: str, key: bytes) -> bytes | None:
        for batch in (self._pending, self._being_written):
            if (table, key) in batch:
                return batch[table, key]
        with self._readable():
            row = self._reader.execute("SELECT value FROM entries WHERE name = ? AND key = ?", (table, key)).fetchone()
        return None if row is None else row[0]

    def scan(self, table: str, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        with self._readable():
            end = _end_of(prefix)
            rows = self._reader.execute(_SCAN_UNTIL if end else _SCAN, (table, prefix, end) if end else (table, prefix))
            found: dict[bytes, bytes | None] = dict(rows)
        for batch in (self._being_written, self._pending):
            found |= {key: value for (name, key), value in batch.items() if name == table and key.startswith(prefix)}
        return [(key, value) for key, value in sorted(found.items()) if value is not None]

    async def commit(self) -> None:
        """Raises Unavailable when the disk refuses; what was to be written is kept for the next commit."""
        async with self._committing:  # whoever waited here finds its writes committed by the one before
            if not self._pending:
                return
            self._being_written, self._pending = self._pending, {}
            try:
                await beside(self._write, self._being_written)
            except BaseException as error:  # cancelled on the way, too: those who wait count on these writes
                self._pending = self._being_written | self._pending
                if isinstance(error, sqlite3.Error):
                    raise Unavailable(f"cannot write to disk: {error}") from error
                raise
            finally:
                self._being_written = {}

    def _write(self, batch: Batch) -> None:
        with self._writer:
            self._writer.execute("BEGIN IMMEDIATE")
            for (table, key), value in batch.items():
                if value is None:
                    self._writer.execute("DELETE FROM entries WHERE name = ? AND key = ?", (table, key))
                else:
                    self._writer.execute("INSERT OR REPLACE INTO entries VALUES (?, ?, ?)", (table, key, value))
        (free_pages,) = self._writer.execute("PRAGMA freelist_count").fetchone()
        if free_pages > _FREE_PAGES_MAX:
            self._writer.executescript(f"PRAGMA incremental_vacuum({_FREED_PAGES})")
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    async def aclose(self) -> None:
        await self.commit()
        self._reader.close()
        self._writer.close()


def check_readable(path: Path) -> None:
    """Looks, without writing anything; a node may run on it meanwhile. Raises ConfigError."""
    with _readable(path):
        reader = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            if path.stat().st_size:
                reader.execute("SELECT count(*) FROM entries").fetchone()
        finally:
            reader.close()


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        if limit := _limit_met(path, getattr(error, "sqlite_errorcode", sqlite3.SQLITE_OK) & _PRIMARY_CODE):
            raise ConfigError(f"{path} cannot be used ({error}): {limit}") from error
        raise ConfigError(
            f"{path} cannot be read ({error}): move {path.parent} away, and the node begins anew"
        ) from error


def _limit_met(path: Path, code: int) -> str:
    """What is lacking here, and what to do, where what lies on the disk is not to blame; empty where it may be."""
    if code == sqlite3.SQLITE_FULL or shutil.disk_usage(path.parent).free < _ROOM_BYTES_MIN:
        return "no space is left on its disk, make room there"
    if code == sqlite3.SQLITE_IOERR and resource.getrlimit(resource.RLIMIT_FSIZE)[0] != resource.RLIM_INFINITY:
        return "files of this process may be only so long, allow longer ones (`ulimit -f`)"
    try:
        check_room(_DESCRIPTORS)
    except OSError as error:
        return words_of(error)
    return ""


def _end_of(prefix: bytes) -> bytes:
    """What comes right after all keys that begin so; nothing, where nothing does."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes([head[-1] + 1]) if head else b""


def _prepared(writer: sqlite3.Connection) -> sqlite3.Connection:
    try:
        writer.execute("PRAGMA auto_vacuum = INCREMENTAL")
        writer.execute("PRAGMA journal_mode = WAL")
        writer.execute("PRAGMA synchronous = FULL")
        writer.execute(f"PRAGMA journal_size_limit = {_JOURNAL_BYTES_MAX}")
        lay_out(writer)
    except BaseException:
        writer.close()
        raise
    return writer


def lay_out(writer: sqlite3.Connection) -> None:
    """A disk without room to lay out anew what is there leaves it as it is: slower, and otherwise the same."""
    if not writer.execute("SELECT 1 FROM sqlite_master WHERE name = 'entries'").fetchone():
        writer.executescript(f"BEGIN; {_CREATE} PRAGMA user_version = {_LAYOUT}; COMMIT")
    elif writer.execute("PRAGMA user_version").fetchone()[0] < _LAYOUT:
        try:
            writer.executescript(f"BEGIN IMMEDIATE; {_SET_ASIDE} {_CREATE} {_TAKE_OVER} COMMIT")
            writer.executescript(f"VACUUM; PRAGMA user_version = {_LAYOUT}")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_FULL:
                raise
            writer.rollback()
            logger.warning("%s: the node's state stays as it was laid out", error)
