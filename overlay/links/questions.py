"""Requests on one link that wait for their answers. No task waits for each: whoever asks is called."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import trio

from ..errors import DeadlineExceeded, LinkLost, PotluckError, RemoteProtocolError
from ..session.states import ANSWERS
from ..wire.codec import Message
from .opening import PeerInfo

M = TypeVar("M", bound=Message)
Hear = Callable[[M | None], None]
"""Called once: with the answer, or with None when the link is lost."""

ANSWER_TYPES: Final = frozenset(
    answer for answers in ANSWERS.values() for answer in (answers if isinstance(answers, tuple) else (answers,))
)
_SMOOTHING: Final = 0.125


class _Question(NamedTuple):
    asked_s: float
    answer_type: type[Message]
    hear: Callable[[Any], None]


class Questions:
    def __init__(self) -> None:
        self.round_trip_s = 0.0
        """Smoothed; 0 before the first answer."""
        self._waiting: dict[int, _Question] = {}
        self._last = 0

    def number(self) -> int:
        """Of the next question, by which it is answered."""
        self._last += 1
        return self._last

    def put(self, number: int, answer_type: type[M], hear: Hear[M]) -> None:
        """It has been asked."""
        self._waiting[number] = _Question(trio.current_time(), answer_type, hear)

    def drop(self, number: int) -> None:
        """Nobody waits for it any more."""
        self._waiting.pop(number, None)

    def answered(self, message: Any) -> None:
        """Raises RemoteProtocolError for an answer to something else; one that comes too late is nothing."""
        number: int = message.request
        question = self._waiting.get(number)
        if question is None:
            return
        if type(message) is not question.answer_type:
            raise RemoteProtocolError(f"the peer answered with {type(message).__name__}")
        del self._waiting[number]
        self._measure(trio.current_time() - question.asked_s)
        question.hear(message)

    def end(self) -> None:
        waiting, self._waiting = self._waiting, {}
        for question in waiting.values():
            question.hear(None)

    def _measure(self, sample_s: float) -> None:
        self.round_trip_s += (sample_s - self.round_trip_s) * (_SMOOTHING if self.round_trip_s else 1)


class Answer:
    """For who would rather wait."""

    def __init__(self) -> None:
        self.message: Any = None
        self._heard = trio.Event()

    def hear(self, message: Message | None) -> None:
        self.message = message
        self._heard.set()

    async def within(self, timeout_s: float) -> bool:
        """Whether anything was heard."""
        with trio.move_on_after(timeout_s):
            await self._heard.wait()
        return self._heard.is_set()


class Asking(ABC):
    """One end of what connects two nodes, as far as it asks the other."""

    def __init__(self, peer: PeerInfo) -> None:
        self.peer = peer
        self.lost_because: PotluckError | None = None
        self._questions = Questions()

    @abstractmethod
    def post(self, message: Message) -> None:
        """Queues a message; never waits. Raises LinkLost, LocalProtocolError if it is too long."""

    def tell(self, message: Message) -> None:
        """Posts it, or drops it where the link is lost: for what is said again at the next one, or for nobody then."""
        try:
            self.post(message)
        except LinkLost:
            pass  # whoever has to know of the loss is told of that

    def ask(self, make: Callable[[int], Message], answer_type: type[M], hear: Hear[M]) -> int:
        """Posts `make(number)`. Raises as `post`; then `hear` is not called."""
        number = self._questions.number()
        self.post(make(number))
        self._questions.put(number, answer_type, hear)
        return number

    def forget(self, number: int) -> None:
        """Nobody waits for this answer any more."""
        self._questions.drop(number)

    async def request(self, make: Callable[[int], Message], answer_type: type[M], timeout_s: float) -> M:
        """As `ask`, and waits for the answer. Raises LinkLost, DeadlineExceeded."""
        answer = Answer()
        number = self.ask(make, answer_type, answer.hear)
        try:
            if not await answer.within(timeout_s):
                raise DeadlineExceeded(f"{self.peer.name} did not answer in {timeout_s:g} s")
        finally:
            self.forget(number)
        if answer.message is None:  # whatever the peer did, who waited for it has only lost a link
            raise LinkLost(f"no link to {self.peer.name}: {self.lost_because}") from self.lost_because
        message: M = answer.message
        return message

    @property
    def round_trip_s(self) -> float:
        return self._questions.round_trip_s
