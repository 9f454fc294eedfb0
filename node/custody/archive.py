"""Logs of jobs, and the payloads too long to stand in them, on this node's disk."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from ...overlay.errors import RemoteProtocolError
from ...overlay.ports import Store
from ...overlay.wire.codec import decoded
from ...overlay.wire.joblog import Era
from .journal import Log
from .milestones import stripped

_HEADS: Final = "jobs"
_ENTRIES: Final = "job entries"
_OBJECTS: Final = "job objects"
_OBJECTS_OF: Final = "objects of jobs"


class Head(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a job beside its entries."""

    eras: list[Era]
    length: int
    shown: int
    master: bytes
    deputies: list[bytes]
    owner: bytes = b""
    bytes_kept: int = 0
    unfenced: bool = False
    """Its master goes on alone, because no majority can ever answer."""
    fetched: bool = False
    """Somebody has been told how it ended."""

    @property
    def log(self) -> Log:
        return Log(tuple(self.eras), self.length)


_head: Final = msgspec.msgpack.Decoder(Head)


class Archive:
    """Everything is on disk once `commit` returns."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.commit = store.commit

    def heads(self) -> dict[str, Head]:
        """A head that does not parse is one of a damaged disk: its job is not held here any more."""
        found: dict[str, Head] = {}
        for key, value in list(self._store.scan(_HEADS)):
            job = key.decode()
            try:
                found[job] = decoded(_head, value, "the head of a log")
            except RemoteProtocolError:
                self.drop(job)
        return found

    def put_head(self, job: str, head: Head) -> None:
        self._store.put(_HEADS, job.encode(), msgspec.msgpack.encode(head))

    def write(self, job: str, first: int, entries: Sequence[bytes]) -> None:
        for number, entry in enumerate(entries, first):
            self._store.put(_ENTRIES, _entry_key(job, number), entry)

    def cut(self, job: str, first: int, end: int) -> None:
        for number in range(first, end):
            self._store.delete(_ENTRIES, _entry_key(job, number))

    def strip(self, job: str, number: int) -> int:
        """Takes the checkpoint out of an entry that has one; how many bytes that frees."""
        key = _entry_key(job, number)
        entry = self._store.get(_ENTRIES, key)
        if entry is None:
            return 0
        left = stripped(entry)
        if left is not entry:
            self._store.put(_ENTRIES, key, left)
        return len(entry) - len(left)

    def read(self, job: str, first: int, end: int, bytes_max: int) -> list[bytes]:
        """From `first` on as many as fit, at least one; fewer where the disk has lost some."""
        found: list[bytes] = []
        for entry in self.entries(job, first, end):
            bytes_max -= len(entry)
            if found and bytes_max < 0:
                break
            found.append(entry)
        return found

    def entries(self, job: str, first: int, end: int) -> Iterator[bytes]:
        for number in range(first, end):
            entry = self._store.get(_ENTRIES, _entry_key(job, number))
            if entry is None:
                return
            yield entry

    def put_object(self, job: str, object_id: bytes, data: bytes) -> None:
        self._store.put(_OBJECTS, object_id, data)
        self._store.put(_OBJECTS_OF, job.encode() + object_id, b"")

    def get_object(self, object_id: bytes) -> bytes | None:
        return self._store.get(_OBJECTS, object_id)

    def drop(self, job: str) -> None:
        for table in (_ENTRIES, _OBJECTS_OF):
            for key, _ in list(self._store.scan(table, job.encode())):
                self._store.delete(table, key)
                if table == _OBJECTS_OF:
                    self._store.delete(_OBJECTS, key[len(job) :])
        self._store.delete(_HEADS, job.encode())


def _entry_key(job: str, number: int) -> bytes:
    return job.encode() + number.to_bytes(8, "big")
