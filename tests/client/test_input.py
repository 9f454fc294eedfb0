"""A program's standard input, given piece by piece to a script that runs elsewhere."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from potluck.client.input import KEPT_BYTES_MAX, StandardInput, is_waiting
from potluck.overlay.wire.control import InputAsked, InputGiven
from potluck.overlay.wire.streams import InputPart, InputWanted

TIMEOUT_S = 30


class Typed:
    """What somebody types, and what a script far away is given of it."""

    def __init__(self, data: bytes) -> None:
        self._read, self.write = os.pipe()
        self._given: queue.Queue[InputGiven] = queue.Queue()
        self._input = StandardInput(self._given.put, self._read)
        os.set_blocking(self.write, False)
        self._rest = data

    def ask(self, offset: int, attempt: int = 0) -> InputPart:
        self._input.ask(InputAsked(b"n" * 20, InputWanted("j", 0, attempt, offset)))
        while self._given.empty() and self._rest is not None:
            if self._rest:
                with suppress(BlockingIOError):  # as much as it takes has been typed ahead
                    self._rest = self._rest[os.write(self.write, self._rest[:4096]) :]
            else:
                os.close(self.write)
                self._rest = None  # type: ignore[assignment]
        return self._given.get(timeout=TIMEOUT_S).part

    def all_of(self, attempt: int) -> bytes:
        data = b""
        while not (part := self.ask(len(data), attempt)).end:
            assert part.offset == len(data) and not part.gone
            data += part.data
        return data + part.data

    def close(self) -> None:
        os.close(self._read)


@given(st.binary(max_size=20_000), st.integers(1, 3))
def test_every_attempt_is_given_all_of_it(data: bytes, attempts: int) -> None:
    typed = Typed(data)
    for attempt in range(attempts):
        assert typed.all_of(attempt) == data
    typed.close()


def test_what_was_too_much_to_keep_is_not_made_up_for_another_attempt() -> None:
    data = bytes(KEPT_BYTES_MAX + 100_000)
    typed = Typed(data)
    assert typed.all_of(0) == data
    again = typed.ask(0, attempt=1)
    assert again.gone and not again.data
    assert typed.ask(len(data)).end
    typed.close()


def test_what_cannot_be_read_from_has_ended() -> None:
    given: queue.Queue[InputGiven] = queue.Queue()
    write_only = os.open(os.devnull, os.O_WRONLY)
    StandardInput(given.put, write_only).ask(InputAsked(b"n" * 20, InputWanted("j", 0, 0, 0)))
    assert given.get(timeout=TIMEOUT_S).part.end
    os.close(write_only)


WITHOUT_INPUT = """
import os, queue
from potluck.client.input import StandardInput
from potluck.overlay.wire.control import InputAsked
from potluck.overlay.wire.streams import InputWanted

reader, writer = os.pipe()
os.write(writer, b"of somebody else")
given = queue.Queue()
StandardInput(given.put).ask(InputAsked(b"n" * 20, InputWanted("j", 0, 0, 0)))
part = given.get(timeout=30).part
print(reader, part.data, part.end)
"""


def test_what_has_come_to_have_the_number_of_a_closed_input_is_not_read() -> None:
    command = ["sh", "-c", 'exec "$0" "$@" <&-', sys.executable, "-c", WITHOUT_INPUT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stdout == "0 b'' True\n", done.stderr


def test_what_nobody_has_read_is_seen_where_it_was_piped_or_comes_from_a_file(tmp_path: Path) -> None:
    read, write = os.pipe()
    (tmp_path / "words").write_text("words")
    try:
        assert not is_waiting(read)
        os.write(write, b"words")
        assert is_waiting(read)
        os.close(write)
        os.read(read, 5)
        assert not is_waiting(read), "at its end"
        with (tmp_path / "words").open("rb") as file:
            assert is_waiting(file.fileno())
            file.seek(0, os.SEEK_END)
            assert not is_waiting(file.fileno())
        with Path(os.devnull).open("rb") as nothing:
            assert not is_waiting(nothing.fileno())
    finally:
        os.close(read)
