"""Routing table on the `kademlia` package's buckets.

Sound there and used: `Node`, `KBucket`, bucket splitting. Replaced: finding the bucket of an id at a bucket's upper
bound, the nearest contacts (the package stops early and in bucket order), and the ping from inside `add_contact`.
"""

from __future__ import annotations

from typing import Final

from kademlia.node import Node
from kademlia.routing import KBucket, RoutingTable

from ..ids import ID_BYTES, NodeId, distance
from ..ports import Address
from ..wire.records import Contact

_ID_MAX: Final = (1 << 8 * ID_BYTES) - 1


class _Table(RoutingTable):  # type: ignore[misc]
    """The package's table, without a protocol: what it would ask the network is for its caller to decide."""

    def flush(self) -> None:
        self.buckets = [KBucket(0, _ID_MAX, self.ksize)]

    def get_bucket_for(self, node: Node) -> int:
        return next(index for index, bucket in enumerate(self.buckets) if node.long_id <= bucket.range[1])

    def add_contact(self, node: Node) -> None:
        """Kademlia (2002) §2.2 and §4.2: a full bucket splits if it covers our own id or its depth allows; else the
        contact waits in the replacement cache."""
        while True:
            index = self.get_bucket_for(node)
            bucket = self.buckets[index]
            if bucket.add_node(node):
                return
            if not (bucket.has_in_range(self.node) or bucket.depth() % 5 != 0):
                return
            self.split_bucket(index)

    def contacts(self) -> list[Node]:
        return [node for bucket in self.buckets for node in bucket.nodes.values()]


class Routing:
    """Contacts of one node. Its own id is never among them."""

    def __init__(self, own_id: NodeId, k: int) -> None:
        self._own_id = own_id
        self._k = k
        self._table = _Table(None, k, Node(own_id))

    def __len__(self) -> int:
        return len(self._table.contacts())

    def add(self, node_id: NodeId, address: Address) -> None:
        if node_id != self._own_id:
            self._table.add_contact(Node(node_id, address.host, address.port))

    def remove(self, node_id: NodeId) -> None:
        self._table.remove_contact(Node(node_id))

    def nearest(self, target: bytes, count: int | None = None) -> list[Contact]:
        """The `count` (default k) contacts with the smallest XOR distance to `target`, nearest first. Exact."""
        place = int.from_bytes(target, "big")
        wanted = self._k if count is None else count
        nodes = sorted(self._table.contacts(), key=lambda node: node.long_id ^ place)[:wanted]
        return [Contact(node.id, node.ip, node.port) for node in nodes]

    def far_places(self) -> list[bytes]:
        """A place in every part of the id space that is farther from here than the nearest k contacts: what a node
        that joins looks up to fill its buckets (Kademlia 2002, §2.3)."""
        own = int.from_bytes(self._own_id, "big")
        near = self.nearest(self._own_id)
        reach = distance(near[-1].node_id, self._own_id).bit_length() if near else 0
        return [(own ^ 1 << bit).to_bytes(ID_BYTES, "big") for bit in range(8 * ID_BYTES - 1, reach - 1, -1)]

    def check(self) -> None:
        """Every invariant."""
        lower = 0
        for bucket in self._table.buckets:
            assert bucket.range[0] == lower, "buckets cover the id space without gaps"
            lower = bucket.range[1] + 1
            assert len(bucket.nodes) <= self._k
            assert all(bucket.has_in_range(node) for node in bucket.nodes.values())
        assert lower == _ID_MAX + 1
        assert self._own_id not in {node.id for node in self._table.contacts()}
