"""What tasks print is shown whole, in order, once, and by lines where many print."""

from __future__ import annotations

import contextlib
import io
import threading

from hypothesis import given
from hypothesis import strategies as st
from potluck.client.output import LINE_BYTES_MAX, JobOutput, Printer
from potluck.overlay.wire.control import OutputShown, Printed
from potluck.overlay.wire.streams import TaskOutput
from potluck.overlay.wire.work import Finished

NODE, OTHER = b"n" * 20, b"o" * 20


class Screen:
    """A program's stdout and stderr, and what its node is told."""

    def __init__(self, *, by_line: bool = True) -> None:
        self.printer = Printer()
        self.told: list[OutputShown] = []
        self.output = JobOutput(self.printer, self.told.append, by_line=by_line)
        self.out, self.err = io.StringIO(), io.StringIO()

    def __enter__(self) -> Screen:
        self._redirected = contextlib.ExitStack()
        self._redirected.enter_context(contextlib.redirect_stdout(self.out))
        self._redirected.enter_context(contextlib.redirect_stderr(self.err))
        return self

    def __exit__(self, *how: object) -> None:
        self.printer.flush()
        self._redirected.close()

    def say(self, index: int, text: str, position: int, *, stream: int = 1, source: bytes = NODE) -> None:
        self.output.take(Printed(source, TaskOutput("j", position, index, 0, stream, text.encode())))


@given(st.lists(st.tuples(st.integers(0, 2), st.text("ab\n", min_size=1, max_size=5)), max_size=20))
def test_lines_of_many_tasks_stay_whole_and_none_is_lost(said: list[tuple[int, str]]) -> None:
    whole: dict[int, str] = dict.fromkeys(range(3), "")
    with Screen() as screen:
        position = 0
        for index, text in said:
            marked = "".join(f"{index}{line}" if line else "" for line in text.splitlines(keepends=True))
            screen.say(index, marked, position)
            whole[index] += marked
            position += len(marked)
        for index in range(3):
            screen.output.ended(Finished(index, 0, stdout=whole[index].encode()))
    shown = screen.out.getvalue().splitlines()
    for index, text in whole.items():
        assert [line for line in shown if line.startswith(str(index))] == text.splitlines()
    assert [one.taken.position for one in screen.told][-1:] == ([position] if said else [])


def test_what_is_said_again_is_shown_once_and_answered_again() -> None:
    with Screen(by_line=False) as screen:
        screen.say(0, "one ", 0)
        screen.say(0, "one ", 0)
        screen.say(0, "two ", 4)
        screen.say(0, "ne two three", 1)
        screen.say(0, "other", 0, source=OTHER)
    assert screen.out.getvalue() == "one two threeother"
    assert [one.taken.position for one in screen.told] == [4, 4, 8, 13, 5]


def test_output_that_comes_with_the_end_is_shown_then_and_on_its_own_stream() -> None:
    with Screen() as screen:
        screen.output.ended(Finished(0, 0, stdout=b"out", stderr=b"err\n"))
        screen.output.ended(Finished(1, 0))
    assert (screen.out.getvalue(), screen.err.getvalue()) == ("out\n", "err\n")


def test_a_line_without_end_is_shown_in_parts() -> None:
    with Screen() as screen:
        screen.say(0, "x" * (LINE_BYTES_MAX + 1), 0)
        screen.printer.flush()
        assert screen.out.getvalue() == "x" * (LINE_BYTES_MAX + 1)


def test_while_the_terminal_stands_still_nothing_counts_as_shown() -> None:
    go_on = threading.Event()

    class Still(io.StringIO):
        def write(self, text: str) -> int:
            go_on.wait()
            return super().write(text)

    with Screen() as screen:
        screen.out = Still()
        with contextlib.redirect_stdout(screen.out):
            screen.say(0, "slow\n", 0)
            screen.say(0, "slow\n", 5)
            assert not screen.told
            go_on.set()
            screen.printer.flush()
    assert [one.taken.position for one in screen.told] == [5, 10]


def test_when_nobody_reads_any_more_it_is_said_once_and_tasks_go_on() -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    broken: list[bool] = []
    with Screen() as screen:
        screen.printer.on_broken = lambda: broken.append(True)
        with contextlib.redirect_stdout(Closed()):
            screen.say(0, "a\n", 0)
            screen.say(0, "b\n", 2)
            screen.printer.flush()
    assert broken == [True]
    assert [one.taken.position for one in screen.told] == [2, 4]


def test_a_terminal_that_stands_still_holds_nobody_up_for_good() -> None:
    goes_on = threading.Event()

    class Still(io.StringIO):
        def write(self, text: str) -> int:
            goes_on.wait()
            return super().write(text)

    printer, still = Printer(), Still()
    with contextlib.redirect_stdout(still):
        printer.put(1, b"a word")
        printer.wait_shown(printer.last)
        assert not still.getvalue()
        goes_on.set()
        printer.wait_shown(printer.last)
        assert still.getvalue() == "a word"
