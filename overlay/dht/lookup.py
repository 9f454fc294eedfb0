"""Engine of the iterative lookup (Kademlia 2002, §2.3), with a sliding window of α queries and no barrier per round.

A contact that does not answer is set aside, and the next nearest is asked in its place. The lookup has converged when
the nearest `count` contacts that may still answer have all answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from ..ids import NodeId, distance
from ..wire.records import Contact


@dataclass(frozen=True)
class Query:
    contact: Contact


class Lookup:
    """Give it answers and failures; `queries()` says whom to ask now, `done` when there is nobody left to ask."""

    def __init__(self, target: bytes, start: Iterable[Contact], *, count: int, alpha: int) -> None:
        self._target = target
        self._count = count
        self._alpha = alpha
        self._known: dict[NodeId, Contact] = {}
        self._depth: dict[NodeId, int] = {}
        self._asked: set[NodeId] = set()
        self._answered: set[NodeId] = set()
        self._failed: set[NodeId] = set()
        self._learn(start, depth=1)

    @property
    def rounds(self) -> int:
        """Length of the longest chain of answers that led to a contact that answered."""
        return max((self._depth[node_id] for node_id in self._answered), default=0)

    @property
    def requests(self) -> int:
        return len(self._asked)

    def queries(self) -> list[Query]:
        """Further contacts to ask now."""
        room = self._alpha - len(self._asked - self._answered - self._failed)
        waiting = [contact for contact in self._candidates() if NodeId(contact.node_id) not in self._asked]
        chosen = waiting[: max(room, 0)]
        self._asked.update(NodeId(contact.node_id) for contact in chosen)
        return [Query(contact) for contact in chosen]

    def answered(self, node_id: NodeId, contacts: Iterable[Contact]) -> None:
        self._answered.add(node_id)
        self._learn(contacts, depth=self._depth[node_id] + 1)

    def failed(self, node_id: NodeId) -> None:
        self._failed.add(node_id)

    @property
    def done(self) -> bool:
        return all(NodeId(contact.node_id) in self._answered for contact in self._candidates())

    def nearest(self) -> list[Contact]:
        """The nearest that answered, nearest first."""
        return [contact for contact in self._candidates() if NodeId(contact.node_id) in self._answered]

    def _candidates(self) -> list[Contact]:
        alive = [contact for node_id, contact in self._known.items() if node_id not in self._failed]
        return sorted(alive, key=lambda contact: distance(contact.node_id, self._target))[: self._count]

    def _learn(self, contacts: Iterable[Contact], *, depth: int) -> None:
        for contact in contacts:
            node_id = NodeId(contact.node_id)
            if node_id not in self._known:
                self._known[node_id] = contact
                self._depth[node_id] = depth
