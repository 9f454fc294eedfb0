"""A program whose node is lost goes on with the next one."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.connection import Connection
from potluck.client.dialling import Link, greet
from potluck.client.futures import TaskFuture
from potluck.client.programs import Packer
from potluck.client.redialling import Redialler
from potluck.overlay.errors import Cancelled, LinkLost, NoNode, WorkerLost
from potluck.overlay.wire import control
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import Finished, Started

from .double import Double

PACKER = Packer()


class Succession:
    """Doubles, one after the other: who dials gets the next once the one before has ended."""

    def __init__(self, prepare: Callable[[Double], None]) -> None:
        self.doubles: list[Double] = []
        self._prepare = prepare
        self.absent = 0
        """How many dials find nobody."""
        self.dialled = threading.Event()

    def dial(self) -> Link:
        if self.absent:
            self.absent -= 1
            raise NoNode("nobody is here")
        double = Double()
        self._prepare(double)
        self.doubles.append(double)
        double.start()
        self.dialled.set()
        return greet(double.theirs)


@contextmanager
def succession(
    prepare: Callable[[Double], None] = lambda double: None, patience_s: float = 10.0
) -> Iterator[tuple[Succession, Connection]]:
    nodes = Succession(prepare)
    connection = Connection(nodes.dial, redialler=Redialler(nodes.dial, patience_s))
    connection.start()
    try:
        yield nodes, connection
    finally:
        connection.close()
        for double in nodes.doubles:
            double.stop()


def call(job: object, function: Callable[..., object], *args: object) -> TaskFuture:
    return job.submit(PACKER.body(function), PACKER.arguments(args, {}))  # type: ignore[attr-defined,no-any-return]


def die(double: Double) -> NoReturn:
    double.die()
    raise OSError("this node has died")


class Fatal(dict[bytes, bytearray]):
    """Whose double dies when it is asked for one of them."""

    def __init__(self, double: Double) -> None:
        super().__init__()
        self._double = double

    def __missing__(self, _key: bytes) -> NoReturn:
        die(self._double)


def first(on_task: Callable[[Double, str, TaskSpec], None]) -> Callable[[Double], None]:
    """Of several doubles the first does this with its tasks; the others run them."""
    doubles = itertools.count()

    def prepare(double: Double) -> None:
        if next(doubles) == 0:
            double.on_task = partial(on_task, double)

    return prepare


def hold(_double: Double, _job: str, _task: TaskSpec) -> None:
    """What a node does that is about to die."""


def test_what_was_in_flight_is_done_by_the_next_node_in_its_order() -> None:
    with succession(first(hold)) as (nodes, connection):
        job = connection.open_job(JobOptions())
        futures = [call(job, abs, -number) for number in range(50)]
        assert nodes.dialled.wait(10)
        nodes.doubles[0].wait_for(lambda: len(nodes.doubles[0].submitted) == 50)
        nodes.absent = 2
        nodes.doubles[0].die()
        assert [future.result(20) for future in futures] == list(range(50))
        assert [task.index for _job, task in nodes.doubles[1].submitted] == list(range(50))
        assert call(job, abs, -7).result(10) == 7


@given(dies_after=st.lists(st.integers(0, 30), max_size=3), tasks=st.integers(1, 40))
def test_every_call_has_its_own_result_whenever_nodes_die(dies_after: list[int], tasks: int) -> None:
    with succession() as (nodes, connection):
        dooms = iter(dies_after)

        def prepare(double: Double) -> None:
            left = next(dooms, None)

            def answer(job: str, task: TaskSpec) -> None:
                nonlocal left
                if left is not None:
                    if left == 0:
                        die(double)
                    left -= 1
                double.run(job, task)

            double.on_task = answer

        nodes.prepare = prepare
        job = connection.open_job(JobOptions())
        futures = [call(job, abs, -number) for number in range(tasks)]
        assert [future.result(20) for future in futures] == list(range(tasks))


def test_what_must_not_run_twice_ends_as_lost_and_what_was_never_sent_is_done() -> None:
    with succession(first(hold)) as (nodes, connection):
        job = connection.open_job(JobOptions(at_most_once=True))
        sent = call(job, abs, -1)
        assert nodes.dialled.wait(10)
        nodes.doubles[0].wait_for(lambda: len(nodes.doubles[0].submitted) == 1)
        nodes.doubles[0].die()
        with pytest.raises(WorkerLost, match="not run again"):
            sent.result(10)
        assert call(job, abs, -2).result(10) == 2


def test_a_task_is_given_up_with_the_node_that_is_one_more_than_its_retries() -> None:
    def prepare(double: Double) -> None:
        double.on_task = lambda _job, _task: die(double)

    with succession(prepare) as (nodes, connection):
        with pytest.raises(WorkerLost, match=r"3 in all"):
            call(connection.open_job(JobOptions(retries=2)), abs, -1).result(20)
        assert len(nodes.doubles) == 3


def test_what_was_cancelled_is_not_sent_again() -> None:
    def begin(double: Double, job: str, task: TaskSpec) -> None:
        double.report(job, Started(task.index, 0))

    with succession(first(begin)) as (nodes, connection):
        job = connection.open_job(JobOptions())
        killed, kept = call(job, abs, -1), call(job, abs, -2)
        assert nodes.dialled.wait(10)
        nodes.doubles[0].wait_for(lambda: killed.running() and kept.running())
        killed.killed = True  # as if the message that tells of it went down with the node
        nodes.doubles[0].die()
        assert kept.result(10) == 2
        with pytest.raises(Cancelled):
            killed.result(10)
        assert len(nodes.doubles[1].submitted) == 1


def test_a_long_result_on_its_way_is_computed_anew() -> None:
    def promise(double: Double, job: str, task: TaskSpec) -> None:
        value = double.keep(PACKER.arguments((bytes(100_000),), {}))
        double.objects = Fatal(double)
        double.report(job, Finished(task.index, 0, value=value))

    with succession(first(promise)) as (_nodes, connection):
        future = call(connection.open_job(JobOptions()), len, bytes(5))
        assert future.result(20) == 5


def test_questions_are_lost_with_their_node_and_the_next_answers_others() -> None:
    with succession() as (nodes, connection):
        job = connection.open_job(JobOptions())
        assert call(job, abs, -1).result(10) == 1
        asked = connection.ask(control.AskStatus)
        nodes.doubles[0].die()
        with pytest.raises(LinkLost):
            asked.result(10)
        assert call(job, abs, -2).result(10) == 2


def test_a_program_with_nothing_to_say_leaves_the_next_node_alone() -> None:
    with succession() as (nodes, connection):
        job = connection.open_job(JobOptions())
        assert call(job, abs, -1).result(10) == 1
        nodes.dialled.clear()
        asked = connection.ask(control.AskStatus)
        nodes.doubles[0].die()
        with pytest.raises(LinkLost):
            asked.result(10)
        assert not nodes.dialled.wait(0.2)
        assert call(job, abs, -2).result(10) == 2
        assert nodes.dialled.is_set()


def lost_for_good(nodes: Succession, connection: Connection) -> TaskFuture:
    """A call in flight on a node that dies, with nobody to follow."""
    pending = call(connection.open_job(JobOptions()), abs, -1)
    assert nodes.dialled.wait(10)
    nodes.doubles[0].wait_for(lambda: bool(nodes.doubles[0].submitted))
    nodes.absent = 1000
    nodes.doubles[0].die()
    return pending


def test_when_no_node_comes_back_all_fails_and_says_how_long_it_was_waited() -> None:
    with succession(first(hold), patience_s=0.2) as (nodes, connection):
        pending = lost_for_good(nodes, connection)
        with pytest.raises(LinkLost, match=r"none has come back within 0\.2 s: nobody is here"):
            pending.result(10)


def test_closing_does_not_wait_for_a_node_to_come_back() -> None:
    with succession(first(hold), patience_s=1000) as (nodes, connection):
        pending = lost_for_good(nodes, connection)
        connection.close()
        with pytest.raises(LinkLost, match="closed"):
            pending.result(10)
