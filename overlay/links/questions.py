"""Requests on one link that wait for their answers. No task waits for each: whoever asks is called."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple, TypeVar

import trio

from ..errors import RemoteProtocolError
from ..session.states import ANSWERS
from ..wire.codec import Message

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
