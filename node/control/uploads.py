"""Payloads that a program sends in parts, until they are whole and the table of objects has them."""

from __future__ import annotations

import logging
from typing import Final

import msgspec

from ...overlay.errors import LimitExceeded, RemoteProtocolError
from ...overlay.parcels import Held
from ...overlay.wire.control import PutPart
from ..objects import ObjectTable

logger = logging.getLogger("potluck.control")

UNFINISHED_MAX: Final = 64
"""At once. A program of ours sends one after the other."""


class _Upload(msgspec.Struct):
    total_bytes: int
    data: bytearray | None
    """None: there was no room for it when it began. Its parts are let go by; its task will say that it is missing."""
    came_bytes: int = 0


class Uploads:
    """Of one connection. What is announced takes its room from the beginning on: many that are begun hold no more than
    the node lends."""

    def __init__(self, table: ObjectTable, owner: str, bytes_max: int) -> None:
        """`owner`: who has an object in the table until a job that names it does."""
        self._table = table
        self._owner = owner
        self._bytes_max = bytes_max
        self._open: dict[bytes, _Upload] = {}

    def take(self, part: PutPart) -> None:
        """Parts come in order; a finished object waits for the Submit that names it. Raises RemoteProtocolError."""
        upload = self._begun(part) if part.offset == 0 else self._open.get(part.object_id)
        if upload is None or part.offset != upload.came_bytes:
            raise RemoteProtocolError("the parts of an upload do not fit together")
        upload.came_bytes += len(part.data)
        if upload.came_bytes > upload.total_bytes:
            raise RemoteProtocolError("an upload is longer than was announced")
        if upload.data is not None:
            upload.data += part.data
        if upload.came_bytes == upload.total_bytes:
            self._forget(part.object_id)
            if upload.data is not None:
                self.put(part.object_id, bytes(upload.data))

    def _begun(self, part: PutPart) -> _Upload:
        self._forget(part.object_id)
        if len(self._open) >= UNFINISHED_MAX:
            raise RemoteProtocolError(f"more than {UNFINISHED_MAX} unfinished uploads")
        if sum(one.total_bytes for one in self._open.values()) + part.total_bytes > self._bytes_max:
            raise RemoteProtocolError(f"uploads of more than {self._bytes_max} bytes at once")
        upload = self._open[part.object_id] = _Upload(part.total_bytes, bytearray())
        try:
            self._table.reserve(part.total_bytes)
        except LimitExceeded as error:
            logger.warning("an upload was refused: %s", error)
            upload.data = None
        return upload

    def put(self, object_id: bytes, held: Held) -> None:
        """All of it has come."""
        try:
            self._table.put(object_id, held, self._owner)
        except LimitExceeded as error:
            logger.warning("an upload was refused: %s", error)  # its task will say that it is missing

    def _forget(self, object_id: bytes) -> None:
        upload = self._open.pop(object_id, None)
        if upload is not None and upload.data is not None:
            self._table.free(upload.total_bytes)

    def end(self) -> None:
        """The connection is over."""
        for object_id in list(self._open):
            self._forget(object_id)
        self._table.release(self._owner)
