"""A worker's end of its pipe, used by several threads of a task at once."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from potluck.overlay.errors import LimitExceeded, NoNode
from potluck.overlay.wire import values
from potluck.overlay.wire.inside import LINES_MAX, Line, NodePipe
from potluck.overlay.wire.kinds import label_of
from potluck.overlay.wire.work import Inline, Reference
from potluck.overlay.wire.worker import (
    FROM_WORKER,
    TO_WORKER,
    FromWorker,
    LineHeard,
    LineSaid,
    NodeAnswer,
    NodeCall,
    RunTask,
    TaskGoesOn,
    TaskWaits,
    TaskWants,
    ToWorker,
)

TASK = 7
PATIENCE_S = 30.0


class Node:
    """The other end: says what it is told to, and hands out what it hears, in order."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.settimeout(PATIENCE_S)
        self._frames = FROM_WORKER.frames()

    def say(self, message: ToWorker) -> None:
        self._end.sendall(TO_WORKER.encode(message))

    def hear(self) -> FromWorker:
        while (body := self._frames.next_body()) is None:
            self._frames.feed(self._end.recv(65_536))
        return FROM_WORKER.decode(body)


@contextmanager
def running() -> Iterator[tuple[NodePipe, Node]]:
    """A worker in the middle of a task."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        pipe = NodePipe(ours.detach())
        pipe.begin_task(TASK)
        try:
            yield pipe, Node(theirs)
        finally:
            pipe.close()


def test_calls_and_lines_of_many_threads_are_answered_whoever_of_them_reads() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(9) as threads:
        line = pipe.open_line()
        heard = threads.submit(line.recv, 100)
        answers = [threads.submit(pipe.call, "mem_get", [number]) for number in range(8)]
        calls = [node.hear() for _ in answers]
        for call in reversed(calls):
            assert isinstance(call, NodeCall)
            node.say(NodeAnswer(call.request, call.arguments))
        assert [answer.result(PATIENCE_S) for answer in answers] == [[number] for number in range(8)]
        node.say(LineHeard(line.number, b"words"))
        assert heard.result(PATIENCE_S) == b"words"
        line.sendall(b"more")
        assert node.hear() == LineSaid(TASK, line.number, b"more")


def test_work_that_comes_while_a_thread_reads_is_found_by_the_main_loop() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(2) as threads:
        line = pipe.open_line()
        reading = threads.submit(line.recv, 100)
        waiting = threads.submit(pipe.next_work)
        task = RunTask(8, 1, Inline(b""))
        node.say(task)
        assert waiting.result(PATIENCE_S) == task
        line.close()
        assert reading.result(PATIENCE_S) == b"", "whoever reads is woken, with nothing to read"


def test_the_first_thread_that_waits_gives_the_slot_back_and_the_last_one_asks_for_it() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(2) as threads:
        assert pipe.pause() == TASK
        assert node.hear() == TaskWaits(TASK, 1)
        assert pipe.pause() == TASK
        pipe.go_on(TASK)  # of two that wait one goes on: nothing is said, and nobody waits for anything
        wants = threads.submit(pipe.go_on, TASK)
        assert node.hear() == TaskWants(TASK, 1)
        assert not wants.done()
        node.say(TaskGoesOn(1))
        wants.result(PATIENCE_S)


def test_who_wants_the_slot_goes_on_without_when_another_thread_waits() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(2) as threads:
        pipe.pause()
        wants = threads.submit(pipe.go_on, TASK)
        assert [node.hear(), node.hear()] == [TaskWaits(TASK, 1), TaskWants(TASK, 1)]
        pipe.pause()
        wants.result(PATIENCE_S)
        assert node.hear() == TaskWaits(TASK, 2)


def test_what_a_task_began_ends_with_it() -> None:
    with running() as (pipe, node):
        ended: list[str] = []
        line = pipe.open_line()
        pipe.when_task_ends(lambda: ended.append("first"))
        left = pipe.pause()
        assert node.hear() == TaskWaits(TASK, 1)
        pipe.end_task()
        assert ended == ["first"]
        assert node.hear() == LineSaid(TASK, line.number, b"")
        assert line.recv(1) == b""
        with pytest.raises(BrokenPipeError):
            line.sendall(b"late")
        with pytest.raises(NoNode):
            pipe.open_line()
        pipe.begin_task(TASK + 1)
        pipe.go_on(left)  # a thread that the task has left behind
        assert pipe.pause() == TASK + 1
        assert node.hear() == TaskWaits(TASK + 1, 2)


def test_lines_are_bounded_and_end_when_the_node_ends_them() -> None:
    with running() as (pipe, node):
        lines: list[Line] = [pipe.open_line() for _ in range(LINES_MAX)]
        with pytest.raises(LimitExceeded):
            pipe.open_line()
        node.say(LineHeard(lines[3].number, b"last"))
        node.say(LineHeard(lines[3].number, b""))
        assert [lines[3].recv(9), lines[3].recv(9)] == [b"last", b""]


def test_everybody_hears_that_the_node_has_gone() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(3) as threads:
        line = pipe.open_line()
        begun = threading.Barrier(3)

        def wait(what: object) -> object:
            begun.wait(PATIENCE_S)
            return line.recv(1) if what == "line" else pipe.next_work()

        waiting = [threads.submit(wait, what) for what in ("line", "work")]
        begun.wait(PATIENCE_S)
        node._end.close()
        assert [one.result(PATIENCE_S) for one in waiting] == [b"", None]


def test_a_question_is_the_values_that_were_asked() -> None:
    with running() as (pipe, node), ThreadPoolExecutor(1) as threads:
        answer = threads.submit(pipe.call, "mem_get", ["k", (1, 2)])
        call = node.hear()
        assert isinstance(call, NodeCall)
        assert values.decode_bytes(call.arguments) == ["k", (1, 2)]
        node.say(NodeAnswer(call.request, values.encode_bytes(3)))
        assert answer.result(PATIENCE_S) == 3


@pytest.mark.parametrize(
    ("given", "label"),
    [
        ("a1", "a1"),
        (["resize", ["TOPSECRET"], {"width": 3}], "resize"),
        ("a\x1b", r"'a\x1b'"),
        ("x" * 300, "x" * 200),
        (7, "?"),
    ],
)
def test_the_log_names_what_is_given_by_kind_and_not_what_it_is_given(given: object, label: str) -> None:
    assert label_of(values.encode(given)) == label


def test_what_cannot_be_read_is_logged_as_that() -> None:
    assert label_of(Inline(b"\xc1")) == "?"
    assert label_of(Reference(bytes(16), 1, bytes(20))) == "..."
