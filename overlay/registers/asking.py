"""The questions of one operation on a register, to this node's own acceptor like to the others, and their answers in
the order in which they come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from types import TracebackType
from typing import Any

import msgspec
import trio

from ..bell import Bell
from ..dht.inquiry import Inquiry
from ..dht.service import Dht
from ..ids import NodeId
from ..wire import registers as wire
from .proposer import Send

Question = wire.Prepare | wire.Accept
Answer = wire.Promise | wire.Accepted
Tell = Callable[[Answer | None], None]


class Asking:
    """`answer_here` answers as this node's own acceptor. After the `with` block nobody listens any more."""

    def __init__(self, dht: Dht, answer_here: Callable[[Question, Tell], None], tries: int = 1) -> None:
        self._own_id = dht.identity.node_id
        self._inquiry = Inquiry(dht)
        self._answer_here = answer_here
        self._tries = tries
        self._answers: deque[tuple[Send, Answer | None]] = deque()
        self._moved = Bell()
        self._over = False

    def __enter__(self) -> Asking:
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._over = True
        self._inquiry.close()

    def ask(self, send: Send) -> None:
        self._ask(send, self._tries)

    async def next(self) -> tuple[Send, Answer | None]:
        """The next answer; None of one that gives none."""
        while not self._answers:
            self._moved.hush()
            with trio.CancelScope() as patience:
                patience.deadline = self._inquiry.limit_s
                await self._moved.heard()
            self._inquiry.give_up_the_silent()
        return self._answers.popleft()

    def _ask(self, send: Send, tries: int) -> None:
        hear = partial(self._hear, send, tries)
        if send.to == self._own_id:
            self._answer_here(send.message, hear)
        else:
            self._inquiry.ask(NodeId(send.to), partial(_numbered, send.message), _answer_type(send.message), hear)
        self._moved.ring()  # whoever waits has another limit to look at

    def _hear(self, send: Send, tries: int, answer: Answer | None) -> None:
        if self._over:
            return
        if answer is None and tries > 1:
            self._ask(send, tries - 1)
            return
        self._answers.append((send, answer))
        self._moved.ring()


def _numbered(message: Question, number: int) -> Question:
    return msgspec.structs.replace(message, request=number)


def _answer_type(message: Question) -> Any:
    return wire.Promise if isinstance(message, wire.Prepare) else wire.Accepted
