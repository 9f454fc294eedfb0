"""Engine of the iterative lookup (Kademlia 2002, §2.3), with a sliding window of α queries and no barrier per round.

                 queries()          answered()
    (known) ─────────────▶ ASKED ─────────────▶ ANSWERED      late and failed contacts leave the window. In the place
                             │ late()                ▲        of a failed one the next nearest is asked; beside a
                             ▼                       │        late one the next two are: where one has died, others
                           LATE ─────────────────────┤        have
                             │ failed()              │ an answer that came after all
                             ▼                       │
                           FAILED ───────────────────┘

The lookup has converged when the nearest `count` contacts that have not failed have all answered. What it says is
never about a contact that only somebody else has named.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from enum import Enum, auto
from typing import Final

import msgspec

from ..ids import NodeId
from ..wire.records import Contact

REQUESTS_MAX: Final = 256
"""One who names contacts that do not exist delays a lookup by so many questions and no more."""


class _State(Enum):
    KNOWN = auto()
    ASKED = auto()
    LATE = auto()
    ANSWERED = auto()
    FAILED = auto()
    HERE = auto()


_SPEAKS: Final = (_State.ANSWERED, _State.HERE)


class _Candidate(msgspec.Struct):
    contact: Contact
    depth: int
    """Length of the chain of answers that led here."""
    state: _State = _State.KNOWN


class Lookup:
    """Give it answers, delays and failures; `queries()` says whom to ask now, `done` when there is nobody left."""

    def __init__(
        self, target: bytes, start: Iterable[Contact], *, count: int, alpha: int, here: Contact | None = None
    ) -> None:
        """`here`: the node that looks, which need not be asked."""
        self._target = int.from_bytes(target, "big")
        self._count = count
        self._alpha = alpha
        self._candidates: dict[NodeId, _Candidate] = {}
        self._order: list[tuple[int, NodeId]] = []
        """Distance and id of all that have not failed, nearest first."""
        self._in_window = 0
        self._late = 0
        self.requests = 0
        self.rounds = 0
        """Length of the longest chain of answers that led to a contact that answered."""
        if here is not None:
            self._learn([here], depth=0)
            self._candidates[NodeId(here.node_id)].state = _State.HERE
        self._learn(start, depth=1)

    def queries(self) -> list[Contact]:
        """Further contacts to ask now."""
        room = min(self._alpha + self._late - self._in_window, REQUESTS_MAX - self.requests)
        chosen: list[Contact] = []
        near = 0
        for _, node_id in self._order:
            candidate = self._candidates[node_id]
            if near >= self._count + self._late or len(chosen) >= room:
                break
            near += candidate.state is not _State.LATE
            if candidate.state is _State.KNOWN:
                candidate.state = _State.ASKED
                chosen.append(candidate.contact)
        self._in_window += len(chosen)
        self.requests += len(chosen)
        return chosen

    def answered(self, node_id: NodeId, contacts: Iterable[Contact]) -> None:
        candidate = self._candidates[node_id]
        if candidate.state is _State.FAILED:
            insort(self._order, (self._distance(node_id), node_id))
        self._leave_window(candidate, _State.ANSWERED)
        self.rounds = max(self.rounds, candidate.depth)
        self._learn(contacts, candidate.depth + 1)

    def late(self, node_id: NodeId) -> None:
        """It takes longer than is usual."""
        candidate = self._candidates[node_id]
        if candidate.state is _State.ASKED:
            self._leave_window(candidate, _State.LATE)

    def failed(self, node_id: NodeId) -> None:
        """It will not answer."""
        candidate = self._candidates[node_id]
        if candidate.state in (_State.ASKED, _State.LATE):
            self._leave_window(candidate, _State.FAILED)
            del self._order[bisect_left(self._order, (self._distance(node_id), node_id))]

    @property
    def done(self) -> bool:
        near = self._near()
        if all(candidate.state in _SPEAKS for candidate in near):
            return True
        under_way = any(candidate.state in (_State.ASKED, _State.LATE) for candidate in near)
        return self.requests >= REQUESTS_MAX and not under_way

    def nearest(self) -> list[Contact]:
        """Of the nearest `count`, those that answered, nearest first."""
        return [candidate.contact for candidate in self._near() if candidate.state in _SPEAKS]

    def check(self) -> None:
        """Every invariant."""
        states = [candidate.state for candidate in self._candidates.values()]
        assert self._in_window == states.count(_State.ASKED)
        assert self._late == states.count(_State.LATE)
        assert self._order == sorted(self._order)
        assert len(self._order) == len(states) - states.count(_State.FAILED)
        unasked = states.count(_State.KNOWN) + states.count(_State.HERE)
        assert len(states) - unasked == self.requests <= REQUESTS_MAX

    def _near(self) -> list[_Candidate]:
        return [self._candidates[node_id] for _, node_id in self._order[: self._count]]

    def _leave_window(self, candidate: _Candidate, state: _State) -> None:
        self._in_window -= candidate.state is _State.ASKED
        self._late += (state is _State.LATE) - (candidate.state is _State.LATE)
        candidate.state = state

    def _learn(self, contacts: Iterable[Contact], depth: int) -> None:
        for contact in contacts:
            node_id = NodeId(contact.node_id)
            if node_id not in self._candidates:
                self._candidates[node_id] = _Candidate(contact, depth)
                insort(self._order, (self._distance(node_id), node_id))

    def _distance(self, node_id: NodeId) -> int:
        return int.from_bytes(node_id, "big") ^ self._target
