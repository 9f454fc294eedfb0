"""Shell of the search: asks whom the lookup engine names, notices who is late, hands in what comes back."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

import trio

from ..bell import Bell
from ..errors import NotAllowed, Unavailable
from ..ids import NodeId
from ..wire.records import Contact
from .lookup import Lookup

Ask = Callable[[Contact], Awaitable[list[Contact]]]
"""One question to a contact; its answer names others. Raises Unavailable or NotAllowed."""


class Search:
    """`start` runs a question in the background: one that is late when the search ends is still heard to its end.

    `patience_s(contact)`: after how long a silent contact is late.
    """

    def __init__(
        self,
        lookup: Lookup,
        ask: Ask,
        patience_s: Callable[[Contact], float],
        start: Callable[[Callable[[Contact], Awaitable[None]], Contact], None],
    ) -> None:
        self.lookup = lookup
        self._ask = ask
        self._patience_s = patience_s
        self._start = start
        self._late_at_s: dict[NodeId, float] = {}
        self._moved = Bell()

    async def run(self, enough: Callable[[list[Contact]], bool] = lambda _: False) -> list[Contact]:
        """Until the lookup has converged, or those of the nearest that have answered are `enough`."""
        lookup = self.lookup
        while not (lookup.done or enough(lookup.nearest())):
            for contact in lookup.queries():
                self._late_at_s[NodeId(contact.node_id)] = trio.current_time() + self._patience_s(contact)
                self._start(self._query, contact)
            self._moved.hush()
            with trio.move_on_at(min(self._late_at_s.values(), default=math.inf)):
                await self._moved.heard()
            self._note_the_late()
        return lookup.nearest()

    def _note_the_late(self) -> None:
        now_s = trio.current_time()
        for node_id, late_at_s in list(self._late_at_s.items()):
            if late_at_s <= now_s:
                del self._late_at_s[node_id]
                self.lookup.late(node_id)

    async def _query(self, contact: Contact) -> None:
        node_id = NodeId(contact.node_id)
        try:
            contacts = await self._ask(contact)
        except (Unavailable, NotAllowed):
            self.lookup.failed(node_id)
        else:
            self.lookup.answered(node_id, contacts)
        self._late_at_s.pop(node_id, None)
        self._moved.ring()
