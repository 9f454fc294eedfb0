"""Engine of one node's share of the records: a dictionary that forgets what has expired, over the Store port."""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Final

import msgspec

from ..clock import time_of
from ..ports import Store
from ..wire.records import Record
from .records import LASTING, NAMESPACES

_TABLE: Final = "records"
_decoder: Final = msgspec.msgpack.Decoder(Record)


class RecordStore:
    """Callers check records before (`records.refusal`) and commit the port after."""

    def __init__(self, store: Store, ahead_max_s: float = math.inf) -> None:
        self._store = store
        self._ahead_max_s = ahead_max_s
        self._records: dict[tuple[str, bytes], Record] = {}
        self._expiries: list[tuple[float, str, bytes]] = []

    def load(self, now_s: float) -> None:
        """Takes up what an earlier run kept; what has expired since then leaves the disk."""
        for key, encoded in list(self._store.scan(_TABLE)):
            record = _decoder.decode(encoded)
            if record.expires_at_s > now_s:
                self._keep(record)
            else:
                self._store.delete(_TABLE, key)

    def get(self, now_s: float, namespace: str, key: bytes) -> Record | None:
        """Tombstones included."""
        self.expire(now_s)
        return self._records.get((namespace, key))

    def put(self, now_s: float, record: Record) -> Record | None:
        """Keeps the record, unless a newer one is held: that one is returned, and nothing has changed."""
        present = self.get(now_s, record.namespace, record.key)
        namespace = NAMESPACES[record.namespace]
        if present is not None:
            if present == record:
                return None
            # What this node wrote by a wrong clock before it met the mesh wins over nothing that others hold.
            ahead = time_of(present.version) > now_s + self._ahead_max_s
            if not ahead and not namespace.wins(record, present):
                return present
        self._keep(record)
        self._write(record)
        return None

    def replace(self, present: Record, record: Record) -> None:
        """Keeps `record` in the place of `present`, which of the two would win or not, if that is still held."""
        if self._records.get((present.namespace, present.key)) is present:
            self._keep(record)
            self._write(record)

    def newest_s(self) -> float:
        """Mesh time of the newest version that outlasts a run; 0 without any."""
        lasting = (record.version for record in self._records.values() if NAMESPACES[record.namespace].persistent)
        return time_of(max(lasting, default=0))

    def expire(self, now_s: float) -> None:
        while self._expiries and self._expiries[0][0] <= now_s:
            _, namespace, key = heapq.heappop(self._expiries)
            record = self._records.get((namespace, key))
            if record is not None and record.expires_at_s <= now_s:
                del self._records[(namespace, key)]
                if NAMESPACES[namespace].persistent:
                    self._store.delete(_TABLE, _disk_key(namespace, key))

    def _write(self, record: Record) -> None:
        if NAMESPACES[record.namespace].persistent:
            self._store.put(_TABLE, _disk_key(record.namespace, record.key), msgspec.msgpack.encode(record))

    def forget(self, record: Record) -> None:
        place = (record.namespace, record.key)
        if self._records.get(place) == record:
            del self._records[place]
            if NAMESPACES[record.namespace].persistent:
                self._store.delete(_TABLE, _disk_key(*place))

    def __iter__(self) -> Iterator[Record]:
        return iter(list(self._records.values()))

    def __len__(self) -> int:
        return len(self._records)

    def _keep(self, record: Record) -> None:
        self._records[(record.namespace, record.key)] = record
        if record.expires_at_s != LASTING:
            heapq.heappush(self._expiries, (record.expires_at_s, record.namespace, record.key))
            if len(self._expiries) > 2 * len(self._records) + 64:
                self._rebuild_expiries()

    def _rebuild_expiries(self) -> None:
        """Refreshed records leave their old expiries behind; they must not pile up."""
        self._expiries = [
            (record.expires_at_s, *place) for place, record in self._records.items() if record.expires_at_s != LASTING
        ]
        heapq.heapify(self._expiries)


def _disk_key(namespace: str, key: bytes) -> bytes:
    return namespace.encode() + b"\0" + key
