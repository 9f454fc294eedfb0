"""Output comes home whole, once and in order, whatever breaks on its way; and never more than a window of it waits."""

from __future__ import annotations

import contextlib
import io

from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs
from potluck.client.output import JobOutput, Printer
from potluck.node.execution.outgoing import TAKEN_BYTES, WINDOW_BYTES, Outgoing
from potluck.overlay.ports import OUTPUT_PART_BYTES
from potluck.overlay.wire.control import OutputShown, Printed
from potluck.overlay.wire.streams import OutputTaken, TaskOutput

NODE = b"n" * 20
STEPS = st.lists(st.sampled_from(["print", "deliver", "acknowledge", "break"]), max_size=40)


class Way:
    """From a node to a program, over a link that loses what is under way when it breaks."""

    def __init__(self) -> None:
        self.outgoing = Outgoing("j", begun=0)
        self.under_way: list[TaskOutput] = []
        self.answers: list[OutputShown] = []
        self.printer = Printer()
        self.output = JobOutput(self.printer, self.answers.append, by_line=False)

    def deliver(self) -> None:
        if self.under_way:
            self.output.take(Printed(NODE, self.under_way.pop(0)))
            self.printer.flush()

    def acknowledge(self) -> None:
        if self.answers:
            self.outgoing.taken(self.answers.pop(0).taken)

    def break_down(self) -> None:
        """The link is lost with all that is on it; over the next one it is said again."""
        self.answers.clear()
        self.under_way = self.outgoing.again()


@given(STEPS, st.data())
def test_what_was_printed_is_shown_whole_once_and_in_order(steps: list[str], data: st.DataObject) -> None:
    way, printed = Way(), ""
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        for step in steps:
            if step == "print" and way.outgoing.room:
                text = data.draw(st.text("ab\n", min_size=1, max_size=5))
                printed += text
                way.under_way += way.outgoing.send(0, 0, [(1, text.encode())])
            elif step == "deliver":
                way.deliver()
            elif step == "acknowledge":
                way.acknowledge()
            elif step == "break":
                way.break_down()
        way.break_down()
        while way.under_way:
            way.deliver()
        while way.answers:
            way.acknowledge()
    assert shown.getvalue() == printed
    assert not way.outgoing.again() and way.outgoing.room


@given(st.lists(st.integers(1, 3 * OUTPUT_PART_BYTES), max_size=12))
def test_no_more_than_a_window_is_taken_in_and_nothing_longer_than_a_part_is_sent(sizes: list[int]) -> None:
    outgoing, sent = Outgoing("j", begun=0), 0
    for size in sizes:
        if not outgoing.room:
            assert sent >= WINDOW_BYTES
            break
        assert sent < WINDOW_BYTES
        parts = outgoing.send(0, 0, [(2, bytes(size))])
        assert all(len(part.data) <= OUTPUT_PART_BYTES for part in parts)
        assert [part.position for part in parts] == list(range(sent, sent + size, OUTPUT_PART_BYTES))
        sent += size


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 3 * OUTPUT_PART_BYTES)), max_size=40),
    st.data(),
)
def test_another_master_is_told_first_what_the_one_before_had_taken(
    said: list[tuple[int, int]], data: st.DataObject
) -> None:
    """Of what it may take over, as far as it is kept: the newest, in order, up to the last byte."""
    outgoing = Outgoing("j", begun=0, lasting=True)
    sent = [part for index, size in said for part in outgoing.send(index, 2, [(1, bytes(size))])]
    count = data.draw(st.integers(0, len(sent)), label="taken")
    for part in sent[:count]:
        outgoing.taken(OutputTaken("j", part.position + len(part.data), 0))
    kept = [part for part in sent[:count] if sent[count - 1].position - part.position < TAKEN_BYTES]
    assert outgoing.again() == sent[count:]
    outgoing.begin_anew({0: 2, 1: 1})
    whole = [structs.replace(part, attempt=0) for part in (*kept, *sent[count:]) if part.index == 0]
    assert outgoing.again() == whole
    outgoing.begin_anew({0: 0})
    assert outgoing.again() == whole, "and a third one, too"


def test_of_what_a_master_that_is_waited_for_has_taken_nothing_is_kept() -> None:
    outgoing = Outgoing("j", begun=0)
    (part,) = outgoing.send(0, 0, [(1, b"x")])
    outgoing.taken(OutputTaken("j", 1, 0))
    outgoing.begin_anew({0: 0})
    assert part and not outgoing.again()


def test_a_node_that_begins_anew_is_heard_from_its_first_byte_and_old_answers_mean_nothing_to_it() -> None:
    way = Way()
    with contextlib.redirect_stdout(io.StringIO()) as shown:
        for life, text in enumerate(["a long first life\n", "short\n"]):
            way.outgoing = Outgoing("j", begun=life)
            way.under_way = way.outgoing.send(0, life, [(1, text.encode())])
            way.deliver()
    assert shown.getvalue() == "a long first life\nshort\n"
    way.acknowledge()
    assert way.outgoing.again(), "the answer was to the earlier life"
    way.acknowledge()
    assert not way.outgoing.again()
