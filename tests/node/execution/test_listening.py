"""The output of tasks that follow each other is told apart, whenever it is read and whoever reads it."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from potluck.node.execution import events
from potluck.node.execution.listening import Listener


class Process:
    """Says that output has come on stdout once for each of `arrivals`; what is read is next in `output`."""

    def __init__(self, arrivals: int, *output: bytes) -> None:
        self._arrivals = arrivals
        self._output = list(output)

    async def output_arrived(self, stream: int) -> bool:
        if stream == 2 or not self._arrivals:
            await trio.sleep_forever()
        self._arrivals -= 1
        return True

    def read_output(self, stream: int) -> bytes:
        return self._output.pop(0) if stream == 1 and self._output else b""


def play(process: Any, catch_up: Callable[[Listener], None], then: Callable[[Listener], None]) -> list[events.Event]:
    """What was told within a second of the worker's time."""
    told: list[events.Event] = []
    listener = Listener(1, 1000, lambda _: SimpleNamespace(room=True), told.append)  # type: ignore[arg-type,return-value]

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run, process, lambda: catch_up(listener))
            await trio.testing.wait_all_tasks_blocked()
            then(listener)
            await trio.sleep(1)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return told


def test_what_is_read_while_ends_are_heard_of_waits_until_more_is_heard() -> None:
    said = [[2, 4], [6], [8]]
    heard: list[bytes] = []
    process: Any = Process(1, b"1\n", b"2\n3\n4\n")

    def catch_up(listener: Listener) -> None:
        heard.extend(listener.ended(process, end, 0).stdout for end in (said.pop(0) if said else ()))

    play(process, catch_up, lambda listener: None)
    assert heard == [b"1\n", b"2\n", b"3\n", b"4\n"]


def test_what_was_read_with_the_end_of_one_task_and_is_of_the_next_is_shown() -> None:
    process: Any = Process(0, b"1\nbegins\n")

    def then(listener: Listener) -> None:
        assert listener.ended(process, 2, 0).stdout == b"1\n"

    (shown,) = play(process, lambda _: None, then)
    assert isinstance(shown, events.Printed)
    assert shown.pieces == ((1, b"begins\n"),)


def test_room_wakes_both_streams_that_wait_for_it() -> None:
    way_home = SimpleNamespace(room=False)
    left = {1: 3, 2: 3}

    class Both:
        async def output_arrived(self, stream: int) -> bool:
            await trio.lowlevel.checkpoint()
            return left[stream] > 0

        def read_output(self, stream: int) -> bytes:
            left[stream] -= 1
            return b"x"

    process: Any = Both()

    async def main() -> None:
        listener = Listener(1, 1000, lambda _: way_home, lambda _: None)  # type: ignore[arg-type,return-value]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listener.run, process, lambda: None)
            await trio.testing.wait_all_tasks_blocked()
            assert left == {1: 3, 2: 3}
            way_home.room = True
            listener.room_again()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert left == {1: 0, 2: 0}
