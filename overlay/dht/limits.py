"""Engine of what others may take of this node: stores under way of each peer, records a second and records and bytes
held of each owner. One member, with however many nodes, neither fills another's disk nor keeps it from serving others.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

import msgspec

from ..config import Dht as DhtConfig
from ..errors import LimitExceeded, PotluckError, QuotaExceeded, Unavailable
from ..ids import NodeId, OwnerId
from ..wire.records import Record
from .store import Usage, size_bytes

_OWNERS_MAX: Final = 1024


class Allowance(msgspec.Struct):
    """A token bucket: what an owner has not used of its rate, up to one second's worth."""

    left: float
    at_s: float


class Limits:
    def __init__(self, config: DhtConfig) -> None:
        self._config = config
        self._under_way: dict[NodeId, int] = {}
        self._allowances: dict[OwnerId, Allowance] = {}

    def begin(self, now_s: float, peer: NodeId, owner: OwnerId, records: int) -> PotluckError | None:
        """Why a peer's stores must wait, or None; then `end` tells when they are done."""
        config = self._config
        if sum(self._under_way.values()) + records > config.stores_max:
            return Unavailable("too many stores at once")
        if self._under_way.get(peer, 0) + records > config.stores_peer_max:
            return Unavailable("too many stores of one node at once")
        if not self._spend(now_s, owner, records):
            return Unavailable(f"more than {config.owner_stores_per_s} stores of one owner in a second")
        self._under_way[peer] = self._under_way.get(peer, 0) + records
        return None

    def end(self, peer: NodeId, records: int) -> None:
        left = self._under_way.pop(peer, 0) - records
        if left > 0:
            self._under_way[peer] = left

    def _spend(self, now_s: float, owner: OwnerId, records: int) -> bool:
        rate = self._config.owner_stores_per_s
        allowance = self._allowances.get(owner)
        if allowance is None:
            if len(self._allowances) >= _OWNERS_MAX:
                self._allowances.clear()
            allowance = self._allowances[owner] = Allowance(rate, now_s)
        allowance.left = min(rate, allowance.left + rate * (now_s - allowance.at_s))
        allowance.at_s = now_s
        if allowance.left < records:
            return False
        allowance.left -= records
        return True

    def room(self, record: Record, present: Record | None, held: Iterable[Usage]) -> PotluckError | None:
        """Why a record is one too many, or None. `present`: what it replaces. `held`: what the publishers of its owner
        have here already."""
        config = self._config
        if present is not None and size_bytes(record) <= size_bytes(present):
            return None  # whoever is at the limit can still delete
        records, size = int(present is None), size_bytes(record)
        for usage in held:
            records += usage.records
            size += usage.size_bytes
        if records > config.owner_records_max:
            return LimitExceeded(f"one owner may keep {config.owner_records_max} records at a node")
        if size > config.owner_bytes_max:
            return QuotaExceeded(f"one owner's records may take {config.owner_bytes_max} bytes of a node")
        return None
