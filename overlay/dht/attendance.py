"""When this node was in company, on its disk: who is away for as long as a tombstone lives may miss deletions, and who
writes before it has met anybody does so by its own clock."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Final

import msgspec

from ..ports import Store
from ..sealing import opened, sealed
from .records import TOMBSTONE_S

_ENTRY: Final = ("dht", b"attendance")
_ALONE: Final = ("dht", b"alone")
NOTE_EVERY_S: Final = 3600.0
_decoder: Final = msgspec.msgpack.Decoder(tuple[float, float, list[bytes]])


class Attendance:
    """Times are mesh time. A node that has never shared records with anybody came at infinity and left before time."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.since_s = math.inf
        """From then on it has never been away for as long as a tombstone lives."""
        self.left_s = -math.inf
        """When it was last there, as far as is noted."""
        self.view: list[bytes] = []
        """Who was near it then."""
        self.met_version = 0
        """Records of later versions than this have been written by this node's own clock, unless it has met the others
        in this life: those before are in the mesh's time."""

    def load(self, newest: int) -> None:
        """`newest` is the newest version on disk. That counts from here on as in the mesh's time, unless this node was
        alone in its last life as well."""
        alone = opened(self._store.get(*_ALONE) or b"")
        self.met_version = newest if alone is None else min(newest, int.from_bytes(alone))
        self._store.put(*_ALONE, sealed(self.met_version.to_bytes(8)))
        encoded = opened(self._store.get(*_ENTRY) or b"")
        if encoded is not None:
            self.since_s, self.left_s, self.view = _decoder.decode(encoded)

    def met(self) -> None:
        """From here on this node writes in the mesh's time, and all that it has written before is in it. On disk with
        the next commit."""
        self._store.delete(*_ALONE)

    @property
    def had_company(self) -> bool:
        return self.left_s > -math.inf

    def was_long_away(self, now_s: float) -> bool:
        return self.had_company and now_s - self.left_s > TOMBSTONE_S

    def note(self, now_s: float, near: Iterable[bytes]) -> None:
        """It is in company and has everything that is due. On disk with the next commit."""
        if not self.had_company or self.was_long_away(now_s):
            self.since_s = now_s
        self.left_s, self.view = now_s, sorted(near)
        self._store.put(*_ENTRY, sealed(msgspec.msgpack.encode((self.since_s, self.left_s, self.view))))
