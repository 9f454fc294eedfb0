"""What a log says has happened, against a plain account of the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.deputies import choose
from potluck.node.custody.story import Counts, story_of
from potluck.overlay.errors import Cancelled, RemoteProtocolError
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.joblog import Added, Ended, Given, Opened, Sealed, decode_entry, encode_entry
from potluck.overlay.wire.work import Fault, Finished, Inline, Program

OPENED = Opened(bytes(20), "ana", 1.0, JobOptions(lasting=True))
PROGRAM = Program(bytes(32), "function", "f", body=Inline(b"x"))


@given(st.lists(st.sampled_from(["add", "give", "end", "fail", "cancel"]), max_size=30), st.data())
def test_a_new_master_learns_what_is_left_to_do(steps: list[str], data: st.DataObject) -> None:
    entries: list = [OPENED]
    left: set[int] = set()
    given_out: set[int] = set()
    ended: set[int] = set()
    failed = cancelled = total = 0
    for step in steps:
        if step == "add":
            entries.append(Added(PROGRAM, [TaskSpec(total, Inline(b""))]))
            left.add(total)
            total += 1
        elif left:
            index = data.draw(st.sampled_from(sorted(left)))
            if step == "give":
                entries.append(Given([index], "bob"))
                given_out.add(index)
                continue
            fault = {"end": None, "fail": Fault(41, "no"), "cancel": Fault(Cancelled.wire_code, "no")}[step]
            entries.append(Ended("bob", True, [Finished(index, 0, Inline(b"v") if fault is None else None, fault)]))
            failed += step == "fail"
            cancelled += step == "cancel"
            left.discard(index)
            given_out.discard(index)
            ended.add(index)
    entries = [decode_entry(encode_entry(entry)) for entry in entries]
    story = story_of(entries)
    assert (
        set(story.tasks),
        set(story.given),
        {index for index in range(99) if index in story.outcomes},
        story.sealed,
    ) == (left, given_out, ended, False)
    counts = Counts()
    for entry in (*entries, Sealed()):
        counts.take(entry)
    assert (counts.tasks, counts.ended, counts.failed, counts.cancelled) == (total, len(ended), failed, cancelled)
    assert counts.over == (not left)
    if not left:
        assert counts.state == ("failed" if failed else "cancelled" if cancelled else "completed")


@pytest.mark.parametrize("entries", [[], [Sealed()]])
def test_a_log_says_whose_it_is(entries: list) -> None:
    with pytest.raises(RemoteProtocolError):
        story_of(entries)


@given(st.lists(st.integers(0, 9), unique=True), st.data())
def test_deputies_stay_while_they_live(nodes: list[int], data: st.DataObject) -> None:
    candidates = [bytes([number]) * 20 for number in nodes]
    ids = candidates or [b""]
    present = data.draw(st.lists(st.sampled_from(ids), max_size=2, unique=True))
    chosen = choose("job", present, candidates)
    assert chosen[: len(present)] == present
    assert len(chosen) == len(set(chosen)) == max(len(present), min(2, len(candidates)))


@pytest.mark.parametrize("index", [1, 1 << 40])
def test_no_task_has_an_outcome_before_it_is_there(index: int) -> None:
    ended = Ended("bob", True, [Finished(index, 0, Inline(b"v"))])
    with pytest.raises(RemoteProtocolError):
        story_of([OPENED, Added(PROGRAM, [TaskSpec(0, Inline(b""))]), ended])


def test_tasks_are_numbered_in_turn() -> None:
    with pytest.raises(RemoteProtocolError):
        story_of([OPENED, Added(PROGRAM, [TaskSpec(1, Inline(b""))])])


def test_what_has_run_nowhere_has_ended_all_the_same_when_it_was_given_up() -> None:
    """Else a job would be as old as time, and be dropped with all that has."""
    counts = Counts()
    cancelled = Ended("", False, [Finished(0, 0, fault=Fault(Cancelled.wire_code, "no"))], 1_000.0)
    for entry in (OPENED, Added(PROGRAM, [TaskSpec(0, Inline(b""))]), Sealed(), cancelled):
        counts.take(decode_entry(encode_entry(entry)))
    assert counts.over and counts.ended_s == 1_000.0
