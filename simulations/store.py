"""`ports.Store` on a virtual disk: what was not committed when the machine died is gone."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from typing import NamedTuple

import trio

from ..overlay.errors import Unavailable
from .timeline import timeline

Table = dict[bytes, bytes]


class _Write(NamedTuple):
    table: str
    key: bytes
    value: bytes | None
    """None: deleted."""

    def apply(self, tables: dict[str, Table]) -> None:
        table = tables.setdefault(self.table, {})
        if self.value is None:
            table.pop(self.key, None)
        else:
            table[self.key] = self.value


class VirtualDisk:
    """What outlives its node. One open store at a time."""

    def __init__(self) -> None:
        self.tables: dict[str, Table] = {}
        self.commits = 0
        self.full = False

    def flip_bit(self, table: str, draw: random.Random) -> str:
        """One bit of one value, as a disk that grows old does it; "" where there is none to flip."""
        entries = self.tables.get(table, {})
        if not any(entries.values()):
            return ""
        key = draw.choice(sorted(key for key, value in entries.items() if value))
        value = bytearray(entries[key])
        bit = draw.randrange(8 * len(value))
        value[bit // 8] ^= 1 << bit % 8
        entries[key] = bytes(value)
        return repr(key)


class VirtualStore:
    """One boot's view of a disk. `fsync_s` draws how long the disk takes each time."""

    def __init__(self, disk: VirtualDisk, fsync_s: Callable[[], float]) -> None:
        self._disk = disk
        self._fsync_s = fsync_s
        self._tables = {name: dict(table) for name, table in disk.tables.items()}
        self._uncommitted: list[_Write] = []
        self._committed = 0
        """How many writes of this boot are on disk; `_uncommitted` holds those that follow."""
        self._cut = False

    def put(self, table: str, key: bytes, value: bytes) -> None:
        self._write(_Write(table, bytes(key), bytes(value)))

    def delete(self, table: str, key: bytes) -> None:
        self._write(_Write(table, bytes(key), None))

    def _write(self, write: _Write) -> None:
        write.apply(self._tables)
        self._uncommitted.append(write)

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._tables.get(table, {}).get(bytes(key))

    def scan(self, table: str, prefix: bytes = b"") -> Iterable[tuple[bytes, bytes]]:
        return sorted(item for item in self._tables.get(table, {}).items() if item[0].startswith(prefix))

    async def commit(self) -> None:
        """Commits may overlap: each covers what was written before it was called. While the disk is full they fail, and
        what was written waits for the next."""
        upto = self._committed + len(self._uncommitted)
        await timeline().pause(self._fsync_s())
        if self._disk.full and upto > self._committed:
            raise Unavailable("cannot write to disk: no space left on device")
        if not self._cut:
            self._settle(upto)

    @property
    def backlog(self) -> int:
        """Writes that are not on disk yet."""
        return len(self._uncommitted)

    def _settle(self, upto: int) -> None:
        due = max(0, upto - self._committed)
        for write in self._uncommitted[:due]:
            write.apply(self._disk.tables)
        del self._uncommitted[:due]
        self._committed += due
        self._disk.commits += 1

    async def aclose(self) -> None:
        """Everything written is on disk afterwards, as when a database closes in an orderly way."""
        with trio.CancelScope(shield=True):
            await self.commit()
        self._cut = True

    def cut(self) -> None:
        """The machine dies at this moment: nothing of this boot reaches the disk any more."""
        self._cut = True
