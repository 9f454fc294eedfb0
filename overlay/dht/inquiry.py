"""Questions to several members at once, and which of them have no answer yet.

To whom there is a link is asked by it, without a task of its own; a task opens one to the others, and again where a
link is lost before the answer. Whoever is silent for as long as any question of the DHT may take has failed as soon as
`give_up_the_silent` is called; until `limit_s` nobody need.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import trio

from ..errors import LinkLost, LocalProtocolError, NotAllowed, Unavailable
from ..ids import NodeId
from ..links.questions import Hear
from ..wire.codec import Message
from .peers import Peer
from .service import Dht

A = TypeVar("A", bound=Message)


class _ByLink(NamedTuple):
    limit_s: float
    link: Peer
    number: int
    fail: Callable[[], None]


class Inquiry:
    """Of each question its `hear` is called once: with the answer, or None if there will be none."""

    def __init__(self, dht: Dht) -> None:
        self._dht = dht
        self._put = 0
        self._open: dict[int, _ByLink | None] = {}
        """None: by a task that opens a link, and knows its own limit."""

    def __len__(self) -> int:
        return len(self._open)

    @property
    def limit_s(self) -> float:
        """When the next of the silent has failed."""
        return min((one.limit_s for one in self._open.values() if one is not None), default=math.inf)

    @property
    def slowest_s(self) -> float:
        """The longest round trip of those asked, as far as it is known."""
        return max((one.link.round_trip_s for one in self._open.values() if one is not None), default=0.0)

    def ask(self, to: NodeId, question: Callable[[int], Message], answer_type: type[A], hear: Hear[A]) -> None:
        """May call `hear` before it returns."""
        key, asked_s = self._put, trio.current_time()
        self._put += 1

        def open_one() -> None:
            self._open[key] = None
            self._dht.start(self._ask_by_opening, key, to, question, answer_type, hear)

        def heard(answer: A | None) -> None:
            if key not in self._open:
                return
            if answer is None:
                open_one()
                return
            del self._open[key]
            self._dht.contacts.measure(trio.current_time() - asked_s)
            hear(answer)

        link = self._dht.peer(to)
        if link is None:
            open_one()
            return
        try:
            number = link.ask(question, answer_type, heard)
        except LinkLost:
            open_one()
        except LocalProtocolError:  # what a peer has made is too long to be sent on
            hear(None)
        else:
            limit_s = asked_s + self._dht.config.request_timeout_s * self._dht.config.request_tries
            self._open[key] = _ByLink(limit_s, link, number, lambda: hear(None))

    def give_up_the_silent(self) -> None:
        now_s = trio.current_time()
        for key, one in list(self._open.items()):
            if one is not None and one.limit_s <= now_s:
                self._forget(key, one)
                one.fail()

    def close(self) -> None:
        """Nobody listens any more."""
        for key, one in list(self._open.items()):
            self._forget(key, one)

    def _forget(self, key: int, one: _ByLink | None) -> None:
        del self._open[key]
        if one is not None:
            one.link.forget(one.number)

    async def _ask_by_opening(
        self, key: int, to: NodeId, question: Callable[[int], Message], answer_type: type[A], hear: Hear[A]
    ) -> None:
        answer: A | None
        try:
            answer = await self._dht.ask(self._dht.contact(to), question, answer_type)
        except (Unavailable, NotAllowed, LocalProtocolError):
            answer = None
        if key in self._open:
            del self._open[key]
            hear(answer)
