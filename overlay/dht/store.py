"""Engine of one node's share of the records: a dictionary that forgets what has expired, over the Store port.

Records lie by place; a place has one, or one of each publisher where the namespace is one of holder sets. What a place
holds is told in short by its `Holding`, so that nodes can compare their shares without sending them.
"""

from __future__ import annotations

import hashlib
import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Container, Iterator
from itertools import islice
from typing import Final

import msgspec

from ..clock import time_of
from ..ids import distance
from ..ports import Store
from ..sealing import opened, sealed
from ..wire.records import SET_RECORDS_MAX, Holding, Record
from .records import LASTING, NAMESPACES, Namespace, place_of, slot_of

_TABLE: Final = "records"
_MARK_BYTES: Final = 8
_BEGINNING_BYTES: Final = 1
_RECORD_BYTES: Final = 256
"""What a record takes beside its key and value."""
_decoder: Final = msgspec.msgpack.Decoder(Record)

Shelf = dict[bytes, Record]
"""What stands at one place, by slot."""


class Usage(msgspec.Struct):
    """What one publisher's records take of this node."""

    records: int = 0
    size_bytes: int = 0

    def add(self, record: Record, sign: int) -> None:
        self.records += sign
        self.size_bytes += sign * size_bytes(record)


def size_bytes(record: Record) -> int:
    return len(record.key) + len(record.value) + _RECORD_BYTES


class RecordStore:
    """Callers check records before (`records.refusal`) and commit the port after."""

    def __init__(self, store: Store, ahead_max_s: float = math.inf) -> None:
        self._store = store
        self._ahead_max_s = ahead_max_s
        self._shelves: dict[bytes, Shelf] = {}
        self._places: dict[bytes, list[bytes]] = {}
        """In order, by how they begin: places are hashes, so that these lists are of one length."""
        self._count = 0
        self._expiries: list[tuple[float, bytes, bytes]] = []
        self.usage: dict[bytes, Usage] = {}
        """By publisher, of those that have anything here."""

    def load(self, now_s: float) -> None:
        """Takes up what an earlier run kept; what has expired since then, or what the disk has garbled, leaves it."""
        for key, written in list(self._store.scan(_TABLE)):
            record = _read(written)
            if record is not None and record.expires_at_s > now_s:
                self._keep(record)
            else:
                self._store.delete(_TABLE, key)

    def get(self, now_s: float, place: bytes) -> list[Record]:
        """Everything at a place, tombstones included."""
        self.expire(now_s)
        return list(self._shelves.get(place, {}).values())

    def put(self, now_s: float, record: Record) -> Record | None:
        """Keeps the record, unless a newer one is held: that one is returned, and nothing has changed."""
        self.expire(now_s)
        present = self.replaced_by(record)
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
        if self.replaced_by(record) is present:
            self._keep(record)
            self._write(record)

    def newest(self) -> int:
        """The newest version that outlasts a run; 0 without any."""
        return max((one.version for one in self if NAMESPACES[one.namespace].persistent), default=0)

    def replaced_by(self, record: Record) -> Record | None:
        """What stands in its slot."""
        return self._shelves.get(place_of(record), {}).get(slot_of(record))

    def has_room(self, record: Record) -> bool:
        """Whether its key takes one more publisher, should this be one."""
        shelf = self._shelves.get(place_of(record), {})
        return slot_of(record) in shelf or len(shelf) < SET_RECORDS_MAX

    def writers(self, record: Record, nodes: Container[bytes]) -> int:
        """How many of these have published under its key."""
        return sum(one.publisher in nodes for one in self._shelves.get(place_of(record), {}).values())

    def forget(self, record: Record) -> None:
        """Unless another one has replaced it."""
        if self.replaced_by(record) == record:
            self._remove(place_of(record), slot_of(record))

    def expire(self, now_s: float) -> None:
        while self._expiries and self._expiries[0][0] <= now_s:
            _, place, slot = heapq.heappop(self._expiries)
            record = self._shelves.get(place, {}).get(slot)
            if record is not None and record.expires_at_s <= now_s:
                self._remove(place, slot)

    def __iter__(self) -> Iterator[Record]:
        return iter([record for shelf in self._shelves.values() for record in shelf.values()])

    def __len__(self) -> int:
        return self._count

    # In short, for other nodes

    def holding(self, place: bytes) -> Holding | None:
        """What stands at a place and moves when membership changes."""
        shelf = self._shelves.get(place)
        if not shelf or not _moves(shelf):
            return None
        records = sorted(shelf.values(), key=lambda record: record.publisher)
        mark = hashlib.blake2b(b"".join(record.signature for record in records), digest_size=_MARK_BYTES).digest()
        version = max(record.version for record in records)
        return Holding(place, version, mark, any(record.agreed for record in records), _is_set(shelf))

    def range(self, near: bytes, bits: int, after: bytes, count: int) -> list[Holding]:
        """The first `count` places behind `after` that share `bits` leading bits with `near`, in order."""
        limit = 1 << (len(near) * 8 - bits)
        lowest = (int.from_bytes(near, "big") // limit * limit).to_bytes(len(near), "big")
        found: list[Holding] = []
        for place in self._from(max(lowest, after)):
            if len(found) == count or distance(place, near) >= limit:
                break
            if place != after and (holding := self.holding(place)) is not None:
                found.append(holding)
        return found

    def _from(self, first: bytes) -> Iterator[bytes]:
        """Places in order, beginning with this one or the next."""
        for beginning in sorted(one for one in self._places if one >= first[:_BEGINNING_BYTES]):
            places = self._places[beginning]
            yield from islice(places, bisect_left(places, first), None)

    # Keeping

    def _keep(self, record: Record) -> None:
        place, slot = place_of(record), slot_of(record)
        shelf = self._shelves.get(place)
        if shelf is None:
            shelf = self._shelves[place] = {}
            insort(self._places.setdefault(place[:_BEGINNING_BYTES], []), place)
        self._count += slot not in shelf
        self._account(shelf.get(slot), record)
        shelf[slot] = record
        if record.expires_at_s != LASTING:
            heapq.heappush(self._expiries, (record.expires_at_s, place, slot))
            if len(self._expiries) > 2 * self._count + 64:
                self._rebuild_expiries()

    def _write(self, record: Record) -> None:
        if NAMESPACES[record.namespace].persistent:
            self._store.put(_TABLE, _disk_key(record), sealed(msgspec.msgpack.encode(record)))

    def _remove(self, place: bytes, slot: bytes) -> None:
        shelf = self._shelves[place]
        record = shelf.pop(slot)
        self._count -= 1
        if not shelf:
            del self._shelves[place]
            self._leave_order(place)
        self._account(record, None)
        if NAMESPACES[record.namespace].persistent:
            self._store.delete(_TABLE, _disk_key(record))

    def _leave_order(self, place: bytes) -> None:
        beginning = place[:_BEGINNING_BYTES]
        places = self._places[beginning]
        del places[bisect_left(places, place)]
        if not places:
            del self._places[beginning]

    def _account(self, gone: Record | None, come: Record | None) -> None:
        for record, sign in ((come, 1), (gone, -1)):
            if record is not None:
                usage = self.usage.setdefault(record.publisher, Usage())
                usage.add(record, sign)
                if not usage.records:
                    del self.usage[record.publisher]

    def _rebuild_expiries(self) -> None:
        """Refreshed records leave their old expiries behind; they must not pile up."""
        self._expiries = [
            (record.expires_at_s, place, slot)
            for place, shelf in self._shelves.items()
            for slot, record in shelf.items()
            if record.expires_at_s != LASTING
        ]
        heapq.heapify(self._expiries)


def _namespace(shelf: Shelf) -> Namespace:
    return NAMESPACES[next(iter(shelf.values())).namespace]


def _moves(shelf: Shelf) -> bool:
    return _namespace(shelf).moves


def _is_set(shelf: Shelf) -> bool:
    return _namespace(shelf).several


def _read(written: bytes) -> Record | None:
    """None where the disk does not give back what was written, or a later version of potluck wrote it."""
    encoded = opened(written)
    record = None if encoded is None else _decoder.decode(encoded)
    return record if record is not None and record.namespace in NAMESPACES else None


def _disk_key(record: Record) -> bytes:
    return record.namespace.encode() + b"\0" + record.key
