"""Questions to acceptors: whoever is silent is given up in time, by whatever way it was asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from potluck.overlay.dht.service import Dht
from potluck.overlay.errors import DeadlineExceeded, LinkLost
from potluck.overlay.registers.asking import Asking
from potluck.overlay.registers.proposer import Send
from potluck.overlay.wire import registers as wire
from trio.testing import MockClock

LIMIT_S = 0.9


class QuietLink:
    """Hears every question and answers none."""

    def __init__(self) -> None:
        self.waiting: dict[int, Callable[[Any], None]] = {}
        self.asked = 0

    def ask(self, make: Any, answer_type: Any, hear: Callable[[Any], None]) -> int:
        self.asked += 1
        self.waiting[self.asked] = hear
        return self.asked

    def forget(self, number: int) -> None:
        self.waiting.pop(number, None)

    def break_(self) -> None:
        waiting, self.waiting = self.waiting, {}
        for hear in waiting.values():
            hear(None)


class Surroundings(SimpleNamespace):
    """As much of a DHT as asking needs."""

    def __init__(self, nursery: trio.Nursery, link: QuietLink | None, opened: Callable[[], Awaitable[Any]]) -> None:
        async def ask(*_: object) -> Any:
            return await opened()

        super().__init__(
            link=link,
            identity=SimpleNamespace(node_id=b"me"),
            config=SimpleNamespace(request_timeout_s=LIMIT_S / 3, request_tries=3),
            contacts=SimpleNamespace(measure=lambda sample_s: None),
            contact=lambda node_id: node_id,
            start=nursery.start_soon,
            ask=ask,
        )

    def peer(self, node_id: bytes) -> QuietLink | None:
        link: QuietLink | None = self.link
        return link


def question(counter: int = 1) -> Send:
    return Send(b"other", wire.Prepare(0, b"", b"name", wire.Ballot(counter, b"x")))


def never(*_: object) -> None:
    raise AssertionError


def play(story: Callable[[trio.Nursery], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            await story(nursery)

    trio.run(main, clock=MockClock(autojump_threshold=0))


def asking(around: Surroundings, tries: int) -> Asking:
    dht: Dht = around  # type: ignore[assignment]
    return Asking(dht, never, tries)


@pytest.mark.parametrize("tries", [1, 2, 5])
def test_who_gets_a_link_while_it_is_asked_and_stays_silent_is_given_up(tries: int) -> None:
    async def story(nursery: trio.Nursery) -> None:
        link = QuietLink()

        async def opened() -> Any:
            await trio.sleep(0.1)
            around.link = link
            await trio.sleep(LIMIT_S - 0.1)
            raise DeadlineExceeded("silent")

        around = Surroundings(nursery, None, opened)
        with trio.fail_after(60), asking(around, tries) as questions:
            questions.ask(question())
            assert await questions.next() == (question(), None)
        assert trio.current_time() <= tries * LIMIT_S + 0.01
        assert link.asked == tries - 1 and not link.waiting

    play(story)


def test_whose_link_breaks_is_asked_by_opening_another() -> None:
    async def story(nursery: trio.Nursery) -> None:
        answer = wire.Promise(1, wire.Ballot(1, b"x"), wire.Ballot(1, b"x"))

        async def opened() -> Any:
            return answer

        link = QuietLink()
        with trio.fail_after(60), asking(Surroundings(nursery, link, opened), 1) as questions:
            questions.ask(question())
            link.break_()
            assert await questions.next() == (question(), answer)

    play(story)


def test_a_link_that_breaks_while_several_are_given_up_loses_none_of_them() -> None:
    """Asking again may find that the peer does not read, which ends the other questions, too."""

    async def story(nursery: trio.Nursery) -> None:
        async def opened() -> Any:
            raise LinkLost("gone")

        class Overfull(QuietLink):
            def ask(self, make: Any, answer_type: Any, hear: Callable[[Any], None]) -> int:
                if self.asked == 2:
                    self.break_()
                    raise LinkLost("it does not read")
                return super().ask(make, answer_type, hear)

        with trio.fail_after(60), asking(Surroundings(nursery, Overfull(), opened), 2) as questions:
            for counter in (1, 2):
                questions.ask(question(counter))
            answered = [await questions.next(), await questions.next()]
        assert sorted(send.message.ballot.counter for send, answer in answered if answer is None) == [1, 2]

    play(story)


def test_nobody_is_asked_any_more_once_the_operation_is_over() -> None:
    async def story(nursery: trio.Nursery) -> None:
        async def opened() -> Any:
            raise AssertionError

        link = QuietLink()
        with asking(Surroundings(nursery, link, opened), 5) as questions:
            questions.ask(question())
            hear = link.waiting[1]
        assert not link.waiting
        hear(None)

    play(story)
