"""What a reader is told of a job's output: all of it, in order, in whole lines, once."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.wire.questions import PrintedPiece
from potluck.verbs.printed import Printed, so_far


def piece(data: str, index: int = 0, *, attempt: int = 0, node: str = "n1", stream: int = 1) -> PrintedPiece:
    return PrintedPiece(index, attempt, node, stream, data.encode())


def task(index: int, stdout: str, *, node: str = "n1", attempts: int = 1, state: str = "completed") -> dict[str, Any]:
    return {
        "task": f"j/{index}",
        "state": state,
        "node": node,
        "attempts": attempts,
        "stdout": stdout,
        "stderr": "",
    }


def told(records: Any) -> list[tuple[str, str]]:
    return [(record["task"], record["stdout"] + record["stderr"]) for record in records]


@given(
    said=st.lists(st.tuples(st.integers(0, 2), st.text("ab\n", min_size=1, max_size=6)), max_size=20),
    live=st.sets(st.integers(0, 2)),
)
def test_every_task_is_told_whole_and_once_however_it_comes(said: list[tuple[int, str]], live: set[int]) -> None:
    """Some while they run, and the others with their ends."""
    whole = {index: "".join(text for of, text in said if of == index) for index in range(3)}
    printed, heard = Printed("j"), dict.fromkeys(("j/0", "j/1", "j/2"), "")
    for index, text in said:
        for name, words in told(printed.came([piece(text, index)])) if index in live else ():
            assert words.endswith("\n")
            heard[name] += words
    for _ in range(2):  # asked twice, told once
        for name, words in told(printed.ended([task(index, text) for index, text in whole.items()])):
            heard[name] += words
    assert heard == {f"j/{index}": text for index, text in whole.items()}


def test_a_later_attempt_is_told_from_its_beginning() -> None:
    printed = Printed("j")
    assert told(printed.came([piece("one\nhalf")])) == [("j/0", "one\n")]
    assert told(printed.came([piece("one\n", attempt=1, node="n2")])) == [("j/0", "one\n")]
    assert told(printed.came([piece(" a line\n")])) == [], "of the earlier attempt nothing more"
    assert told(printed.ended([task(0, "one\n", node="n2", attempts=2)])) == []


def test_of_a_task_that_runs_twice_at_once_one_is_told_and_in_the_end_the_one_that_counts() -> None:
    printed = Printed("j")
    assert told(printed.came([piece("a\n"), piece("b\n", node="n2"), piece("c\n")])) == [("j/0", "a\n"), ("j/0", "c\n")]
    assert told(printed.ended([task(0, "b\nd\n", node="n2")])) == [("j/0", "b\nd\n")]


def test_who_reads_no_further_is_told_lines_without_an_end_too() -> None:
    tasks = [task(0, "done\n"), task(1, "", state="running"), task(2, "", state="pending")]
    pieces = [piece("x\nhal", 1), piece("oops", 1, stream=2), piece("gone", 0)]
    assert so_far("j", tasks, pieces) == [
        {"task": "j/0", "node": "n1", "stdout": "done\n", "stderr": ""},
        {"task": "j/1", "node": "n1", "stdout": "x\nhal", "stderr": "oops"},
    ]
