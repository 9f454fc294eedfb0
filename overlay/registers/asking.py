"""The questions of one operation on a register, and what becomes of each.

To whom there is a link is asked by it, without a task of its own; a task opens one to the others. Whoever is silent for
as long as any question of the DHT may take has failed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any, NamedTuple

import msgspec
import trio

from ..dht.peers import Peer
from ..dht.service import Dht
from ..errors import LinkLost, LocalProtocolError, NotAllowed, Unavailable
from ..ids import NodeId
from ..wire import registers as wire
from .proposer import Send

Question = wire.Prepare | wire.Accept
Answer = wire.Promise | wire.Accepted
Tell = Callable[[Answer | None], None]


class _UnderWay(NamedTuple):
    send: Send
    tries: int
    limit_s: float
    link: Peer
    number: int


class Asking:
    """`answer_here` answers as this node's own acceptor. After the `with` block nobody listens any more."""

    def __init__(self, dht: Dht, answer_here: Callable[[Question, Tell], None], tries: int = 1) -> None:
        self._dht = dht
        self._answer_here = answer_here
        self._tries = tries
        self._under_way: dict[int, _UnderWay] = {}
        """In the order in which they were put, and so of their limits."""
        self._put = 0
        self._answers: deque[tuple[Send, Answer | None]] = deque()
        self._moved = trio.Event()
        self._over = False

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        for question in self._under_way.values():
            question.link.forget(question.number)
        self._under_way.clear()

    def ask(self, send: Send) -> None:
        self._ask(send, self._tries)

    async def next(self) -> tuple[Send, Answer | None]:
        """The next answer; None of one that gives none."""
        while not self._answers:
            self._moved = trio.Event()
            oldest = next(iter(self._under_way.values()), None)
            with trio.CancelScope() as patience:
                if oldest is not None:
                    patience.deadline = oldest.limit_s
                await self._moved.wait()
            self._give_up_the_silent()
        return self._answers.popleft()

    # One question

    def _ask(self, send: Send, tries: int) -> None:
        if send.to == self._dht.identity.node_id:
            self._answer_here(send.message, partial(self._note, send, tries))
        elif (link := self._dht.peer(NodeId(send.to))) is None:
            self._dht.start(self._ask_by_opening, send, tries)
        else:
            self._ask_by(link, send, tries)

    def _ask_by(self, link: Peer, send: Send, tries: int) -> None:
        self._put += 1
        key, asked_s = self._put, trio.current_time()

        def hear(answer: Answer | None) -> None:
            if self._under_way.pop(key, None) is None:
                return
            if answer is None:
                self._dht.start(self._ask_by_opening, send, tries)
            else:
                self._dht.contacts.measure(trio.current_time() - asked_s)
                self._note(send, tries, answer)

        try:
            number = link.ask(partial(_numbered, send.message), _answer_type(send.message), hear)
        except LinkLost:
            self._dht.start(self._ask_by_opening, send, tries)
        except LocalProtocolError:  # a state of a peer's making, too long to send
            self._note(send, 1, None)
        else:
            limit_s = asked_s + self._dht.config.request_timeout_s * self._dht.config.request_tries
            self._under_way[key] = _UnderWay(send, tries, limit_s, link, number)
            self._moved.set()  # whoever waits has another limit to look at

    async def _ask_by_opening(self, send: Send, tries: int) -> None:
        try:
            contact = self._dht.contact(NodeId(send.to))
            answer = await self._dht.ask(contact, partial(_numbered, send.message), _answer_type(send.message))
        except (Unavailable, NotAllowed, LocalProtocolError):
            self._note(send, tries, None)
        else:
            self._note(send, tries, answer)

    def _give_up_the_silent(self) -> None:
        now_s = trio.current_time()
        while self._under_way:
            key, question = next(iter(self._under_way.items()))
            if question.limit_s > now_s:
                return
            del self._under_way[key]
            question.link.forget(question.number)
            self._note(question.send, question.tries, None)

    def _note(self, send: Send, tries: int, answer: Answer | None) -> None:
        if self._over:
            return
        if answer is None and tries > 1:
            self._ask(send, tries - 1)
            return
        self._answers.append((send, answer))
        self._moved.set()


def _numbered(message: Question, number: int) -> Question:
    return msgspec.structs.replace(message, request=number)


def _answer_type(message: Question) -> Any:
    return wire.Promise if isinstance(message, wire.Prepare) else wire.Accepted
