"""What a program has asked its node and has no answer to yet."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from functools import partial
from typing import Any

from ..overlay.errors import PotluckError, from_wire
from ..overlay.wire import control
from ..overlay.wire.codec import Message
from ..overlay.wire.control import TO_NODE
from ..overlay.wire.processes import Acted, Processes
from ..overlay.wire.questions import JobSaid
from ..overlay.wire.work import Inline, Reference
from .dialling import Way
from .downloads import Downloads


class Questions:
    """Numbers them, makes their frames, and tells whoever asked; payloads come in parts. Sends nothing itself."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._asked: dict[int, Future[Any]] = {}
        self._downloads = Downloads()

    def ask(self, message: Callable[..., Message], *arguments: object) -> tuple[bytes, Future[Any]]:
        """The future has the answer's message, or raises what the node reported. Raises UsageError at once for what no
        node would read."""
        number = next(self._numbers)
        frame = TO_NODE.encode_checked(message(number, *arguments))
        answer = self._asked[number] = Future()
        return frame, answer

    def fetch(self, job: str, reference: Reference) -> tuple[bytes, Future[Inline]]:
        """A long payload of any job."""
        answer: Future[Inline] = Future()
        return self._download(job, reference, partial(resolve, answer), partial(reject, answer), of_task=False), answer

    def fetch_result(
        self, job: str, value: Reference, arrived: Callable[[Inline], None], failed: Callable[[PotluckError], None]
    ) -> bytes:
        """Of a task in flight; nobody is told when the link is lost, for the task may run again."""
        return self._download(job, value, arrived, failed, of_task=True)

    def answer(self, message: control.Answer | control.MemoryValue | JobSaid | Processes | Acted) -> None:
        if answer := self._asked.pop(message.request, None):
            resolve(answer, message)

    def take_part(self, part: control.ObjectBytes) -> None:
        """Raises RemoteProtocolError."""
        self._downloads.take(part)

    def take_parcel(self, parcel: control.ObjectParcel) -> None:
        """Raises RemoteProtocolError."""
        self._downloads.take_parcel(parcel)

    def receive(self, link: Way, bytes_max: int) -> bytes:
        """As `link.recv`, with what comes beside the frames."""
        return self._downloads.receive(link, bytes_max)

    def refuse(self, failure: control.Failure) -> None:
        error = from_wire(failure.code, failure.message)
        if not self._downloads.fail(failure.request, error) and (answer := self._asked.pop(failure.request, None)):
            reject(answer, error)

    def lose(self, error: PotluckError) -> None:
        """With the link they were asked on."""
        for number in list(self._asked):
            if answer := self._asked.pop(number, None):
                reject(answer, error)
        self._downloads.lose(error)

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._asked.clear()
        self._downloads.forget()

    def _download(
        self,
        job: str,
        value: Reference,
        arrived: Callable[[Inline], None],
        failed: Callable[[PotluckError], None],
        *,
        of_task: bool,
    ) -> bytes:
        number = next(self._numbers)
        self._downloads.expect(number, arrived, failed, of_task=of_task)
        return TO_NODE.encode(control.GetObject(number, job, value))


def resolve(answer: Future[Any], value: object) -> None:
    try:
        answer.set_result(value)
    except InvalidStateError:
        pass  # the one who asked has given up


def reject(answer: Future[Any], error: PotluckError) -> None:
    try:
        answer.set_exception(error)
    except InvalidStateError:
        pass  # the one who asked has given up
