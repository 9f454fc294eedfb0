"""Heads of others' audit logs, kept for them, and against them.

What must hold: of two heads of one node that no log can both have had, both are kept and shown, whatever comes later.
"""

from __future__ import annotations

from typing import Final

from ...overlay.identity.keys import signed_by
from ...overlay.ids import NodeId, node_id_of
from ...overlay.ports import Store
from ...overlay.wire.audit import HEADS_MAX, Head, encode, head_in

NODES_MAX: Final = 1024
_TABLE: Final = "audit witness"
_AGAINST: Final = b"against"


class Witness:
    """Of each node its newest heads, and the last one by which it has contradicted itself. Whoever calls commits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._kept: dict[NodeId, list[Head]] = {}
        self._against: dict[NodeId, Head] = {}

    def load(self) -> None:
        for key, value in self._store.scan(_TABLE):
            head = head_in(value)
            if key.endswith(_AGAINST):
                self._against[node_id_of(head.public_key)] = head
            else:
                self._kept.setdefault(node_id_of(head.public_key), []).append(head)

    def take(self, head: Head) -> str:
        """What is wrong about it, if anything is. One that its node has not signed is not taken."""
        if not signed_by(head.public_key, head.signature, head.signed_part()):
            return "it is not signed by its node"
        node_id = node_id_of(head.public_key)
        kept = self._kept.get(node_id, [])
        if kept and (head.number, head.digest) == (kept[-1].number, kept[-1].digest):
            return ""
        if kept and head.number <= kept[-1].number:
            self._against[node_id] = head
            self._store.put(_TABLE, node_id + _AGAINST, encode(head))
            return f"it has {head.number} entries after it had {kept[-1].number}: some were cut off or rewritten"
        if kept or len(self._kept) < NODES_MAX:
            self._kept[node_id] = [*kept, head]
            self._store.put(_TABLE, _key(node_id, head), encode(head))
            if len(kept) >= HEADS_MAX - 1:
                self._store.delete(_TABLE, _key(node_id, self._kept[node_id].pop(0)))
        return ""

    def heads_of(self, node_id: NodeId) -> list[Head]:
        against = self._against.get(node_id)
        return [*self._kept.get(node_id, ()), *([] if against is None else [against])]


def _key(node_id: NodeId, head: Head) -> bytes:
    return node_id + head.number.to_bytes(8, "big")
