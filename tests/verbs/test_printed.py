"""What a reader is told of a job's output: all of it, in order, in whole lines, once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from potluck.overlay.wire.questions import PrintedPiece
from potluck.verbs.printed import Printed, so_far


class Node:
    """Counts what its tasks print."""

    def __init__(self, name: str, begun: int = 0) -> None:
        self.name = name
        self.begun = begun
        self.position = 0

    def prints(self, data: str, index: int = 0, *, attempt: int = 0, stream: int = 1) -> PrintedPiece:
        said = PrintedPiece(index, attempt, self.name, stream, data.encode(), self.position, self.begun)
        self.position += len(said.data)
        return said


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
    printed, node, heard = Printed("j"), Node("n1"), dict.fromkeys(("j/0", "j/1", "j/2"), "")
    for index, text in said:
        for name, words in told(printed.came([node.prints(text, index)])) if index in live else ():
            assert words.endswith("\n")
            heard[name] += words
    for _ in range(2):  # asked twice, told once
        for name, words in told(printed.ended([task(index, text) for index, text in whole.items()])):
            heard[name] += words
    assert heard == {f"j/{index}": text for index, text in whole.items()}


def test_a_later_attempt_is_told_from_its_beginning() -> None:
    printed, first, second = Printed("j"), Node("n1"), Node("n2")
    assert told(printed.came([first.prints("one\nhalf")])) == [("j/0", "one\n")]
    assert told(printed.came([second.prints("one\n", attempt=1)])) == [("j/0", "one\n")]
    assert told(printed.came([first.prints(" a line\n")])) == [], "of the earlier attempt nothing more"
    assert told(printed.ended([task(0, "one\n", node="n2", attempts=2)])) == []


def test_of_a_task_that_runs_twice_at_once_one_is_told_and_in_the_end_the_one_that_counts() -> None:
    printed, first, second = Printed("j"), Node("n1"), Node("n2")
    pieces = [first.prints("a\n"), second.prints("b\n"), first.prints("c\n")]
    assert told(printed.came(pieces)) == [("j/0", "a\n"), ("j/0", "c\n")]
    assert told(printed.ended([task(0, "b\nd\n", node="n2")])) == [("j/0", "b\nd\n")]


@given(
    said=st.lists(st.tuples(st.integers(0, 1), st.text("ab\n", min_size=1, max_size=6)), max_size=20),
    told_by_first=st.integers(0, 20),
    kept_from=st.integers(0, 20),
)
def test_a_task_that_runs_on_under_another_master_is_told_on(
    said: list[tuple[int, str]], told_by_first: int, kept_from: int
) -> None:
    """It counts attempts from the beginning, and hears again what the node has kept; what nobody has is counted."""
    printed, node, heard = Printed("j"), Node("n1"), dict.fromkeys(("j/0", "j/1"), "")
    pieces = [node.prints(text, index, attempt=1) for index, text in said]
    for name, words in told(printed.came(pieces[:told_by_first])):
        heard[name] += words
    printed.another_master()
    again = [structs.replace(one, attempt=0) for one in pieces[kept_from:]]
    for name, words in told(printed.came([*again, *(node.prints("\n", index) for index in (0, 1))])):
        heard[name] += words
    whole = {f"j/{index}": "".join(text for of, text in said if of == index) + "\n" for index in (0, 1)}
    lost = pieces[min(told_by_first, len(pieces)) : kept_from] if told_by_first else []
    assert printed.gap_bytes == sum(len(one.data) for one in lost)
    if kept_from <= told_by_first:
        assert heard == whole


def test_a_task_that_begins_anew_under_another_master_is_told_from_its_beginning() -> None:
    printed, first, second = Printed("j"), Node("n1"), Node("n2")
    assert told(printed.came([first.prints("one\nhalf", attempt=2)])) == [("j/0", "one\n")]
    printed.another_master()
    assert told(printed.came([second.prints("one\n")])) == [("j/0", "one\n")]


def test_a_task_that_ended_just_before_another_master_came_is_not_told_again() -> None:
    printed, node = Printed("j"), Node("n1")
    assert told(printed.came([node.prints("one\n", attempt=1)])) == [("j/0", "one\n")]
    printed.another_master()
    assert told(printed.ended([task(0, "one\n", attempts=2)])) == []


def test_a_node_that_has_restarted_counts_from_nothing() -> None:
    printed = Printed("j")
    assert told(printed.came([Node("n1", begun=1).prints("one\n")])) == [("j/0", "one\n")]
    assert told(printed.came([Node("n1", begun=2).prints("one\n", attempt=1)])) == [("j/0", "one\n")]
    assert not printed.gap_bytes


def test_who_reads_no_further_is_told_lines_without_an_end_too() -> None:
    tasks = [task(0, "done\n"), task(1, "", state="running"), task(2, "", state="pending")]
    node = Node("n1")
    pieces = [node.prints("x\nhal", 1), node.prints("oops", 1, stream=2), node.prints("gone", 0)]
    assert so_far("j", tasks, pieces) == [
        {"task": "j/0", "node": "n1", "stdout": "done\n", "stderr": ""},
        {"task": "j/1", "node": "n1", "stdout": "x\nhal", "stderr": "oops"},
    ]


@pytest.mark.parametrize("state", ["cancelled", "failed"])
def test_what_ends_without_a_word_from_its_node_is_told_as_far_as_it_was_heard(state: str) -> None:
    """Whoever cancels a job that runs for long wants to know how far it had come."""
    node = Node("n1")
    pieces = [node.prints("x\nhal", 0), node.prints("y\n", 1)]
    tasks = [task(0, "", node="", state=state), task(1, "y\nz\n", state=state), task(2, "", node="", state=state)]
    assert so_far("j", tasks, pieces) == [
        {"task": "j/0", "node": "n1", "stdout": "x\nhal", "stderr": ""},
        {"task": "j/1", "node": "n1", "stdout": "y\nz\n", "stderr": ""},
        {"task": "j/2", "node": "", "stdout": "", "stderr": ""},
    ]
