"""The conversation, against a double that does what a real node rarely does."""

from __future__ import annotations

import os
import threading
from concurrent.futures import CancelledError, wait

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.client import window as window_module
from potluck.client.connection import Connection
from potluck.client.dialling import greet
from potluck.client.futures import Job, TaskFuture, cancel
from potluck.client.programs import Body, Packer
from potluck.overlay.errors import Cancelled, LinkLost, NotAllowed, ResultNotEncodable
from potluck.overlay.wire import control, values
from potluck.overlay.wire.control import JobOptions
from potluck.overlay.wire.work import Fault, Finished, Inline, Started

from .double import Double, double_node

PACKER = Packer()


def call(job: Job, body: Body, *args: object, **kwargs: object) -> TaskFuture:
    return job.submit(body, PACKER.arguments(args, kwargs))


def hold(_job: str, _task: control.TaskSpec) -> None:
    """Never answers."""


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 200_000)), max_size=60))
def test_every_task_gets_its_own_result_whatever_the_sizes(calls: list[tuple[int, int]]) -> None:
    bodies = [PACKER.body(function) for function in (len, bytes.upper, lambda data: data[:3])]
    expected = [[len, bytes.upper, lambda data: data[:3]][which](b"x" * size) for which, size in calls]
    with double_node() as (_, connection):
        jobs = [connection.open_job(JobOptions(priority=number)) for number in range(2)]
        futures = [call(jobs[size % 2], bodies[which], b"x" * size) for which, size in calls]
        assert [future.result(30) for future in futures] == expected
        connection.wait_idle()
        assert connection.is_idle


def test_what_is_done_holds_neither_its_arguments_nor_its_program() -> None:
    with double_node() as (_, connection):
        job = connection.open_job(JobOptions())
        body = PACKER.body(abs)
        future = call(job, body, -1)
        assert future.result(10) == 1
        connection.wait_idle()
        assert future.arguments is None and future.program is not body


@pytest.mark.parametrize("memory_files", [True, False])
def test_a_body_too_long_for_a_frame_goes_ahead(memory_files: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    big = b"z" * 1_500_000
    if not memory_files:
        monkeypatch.delattr(os, "memfd_create")
    with double_node() as (double, connection):
        job = connection.open_job(JobOptions())
        body = msgspec.structs.replace(PACKER.body(lambda: len(big)), libraries=())
        assert call(job, body).result(10) == len(big)
        assert call(job, body).result(10) == len(big)
        assert len([said for said in double.received if isinstance(said, control.PutPart)]) == 3 * (not memory_files)
        assert len([said for said in double.received if isinstance(said, control.PutParcel)]) == memory_files


@pytest.mark.parametrize("hands_over", [True, False])
def test_a_result_that_lies_at_the_node_is_fetched(hands_over: bool) -> None:
    big = bytes(range(256)) * 8000
    with double_node() as (double, connection):
        double.hands_over = hands_over
        double.on_task = lambda job, task: double.report(
            job, Finished(task.index, 0, value=double.keep(values.encode(big)))
        )
        assert call(connection.open_job(JobOptions()), PACKER.body(len), "x").result(10) == big


@pytest.mark.parametrize("detached", [True, False])
def test_what_a_lasting_job_has_taken_in_makes_room_for_more(detached: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Long before its tasks end; whoever waits for these still gets their results."""
    monkeypatch.setattr(window_module, "WINDOW_TASKS", 10)
    with double_node() as (double, connection):
        double.on_task = hold
        job = connection.open_job(JobOptions(lasting=True), detached=detached)
        futures = [call(job, PACKER.body(len), "x" * number) for number in range(35)]
        for sent in (10, 20, 30, 35):
            double.wait_for(lambda sent=sent: len(double.submitted) == sent)
            double.say(control.TasksSafe("job-1", sent))
        if not detached:
            for job_id, task in list(double.submitted):
                double.run(job_id, task)
        expected = [None] * 35 if detached else list(range(35))
        assert [future.result(10) for future in futures] == expected
        connection.wait_idle()
        double.on_task = double.run
        assert [call(connection.open_job(JobOptions()), PACKER.body(len), "y").result(10) for _ in range(25)] == [
            1
        ] * 25


def test_the_window_bounds_what_the_node_is_sent_and_cancel_reaches_what_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(window_module, "WINDOW_TASKS", 10)
    with double_node() as (double, connection):
        double.on_task = hold
        job = connection.open_job(JobOptions())
        futures = [call(job, PACKER.body(abs), number) for number in range(25)]
        double.wait_for(lambda: len(double.submitted) == 10)
        assert futures[20].cancel()
        assert futures[3].cancel()
        double.wait_for(lambda: any(isinstance(message, control.CancelTasks) for message in double.received))
        held = list(double.submitted)
        double.on_task = double.run
        for job_id, task in held:
            double.run(job_id, task)
        assert {future.result(10) for future in futures if not future.cancelled()} == {*range(25)} - {3, 20}
        assert len(double.submitted) == 24, "what was cancelled while it waited was never sent"


def test_cancel_is_true_until_the_started_notice_and_wait_sees_it() -> None:
    with double_node() as (double, connection):
        double.on_task = hold
        job = connection.open_job(JobOptions())
        waiting, running = (call(job, PACKER.body(abs), number) for number in (1, 2))
        double.wait_for(lambda: len(double.submitted) == 2)
        double.report("job-1", Started(1, 0))
        connection.ask(control.AskStatus)
        while not running.running():
            wait([running], 0.01)
        assert not running.cancel()
        assert waiting.cancel()
        assert wait([waiting], 5).done
        with pytest.raises(CancelledError):
            waiting.result()
        assert cancel(running), "a running one can be killed"
        with pytest.raises(Cancelled) as caught:
            running.result(10)
        assert isinstance(caught.value, CancelledError)


def test_pending_tasks_fail_clearly_when_the_node_disappears_and_later_ones_at_once() -> None:
    with double_node() as (double, connection):
        double.on_task = hold
        job = connection.open_job(JobOptions())
        pending = [call(job, PACKER.body(abs), number) for number in range(50)]
        double.wait_for(lambda: bool(double.submitted))
        question = connection.ask(control.AskStatus)
        double.stop()
        for future in (*pending, question):
            with pytest.raises(LinkLost):
                future.result(10)
        with pytest.raises(LinkLost):
            call(job, PACKER.body(abs), 1).result(0)
        with pytest.raises(LinkLost):
            call(connection.open_job(JobOptions()), PACKER.body(abs), 1).result(0)
        connection.wait_idle()


def test_a_refused_job_fails_its_tasks_and_no_others() -> None:
    with double_node() as (double, connection):
        good = connection.open_job(JobOptions())
        assert call(good, PACKER.body(abs), -1).result(10) == 1
        double.refuse_jobs = NotAllowed.wire_code
        bad = connection.open_job(JobOptions(priority=1))
        with pytest.raises(NotAllowed, match="no jobs here"):
            call(bad, PACKER.body(abs), -1).result(10)
        with pytest.raises(NotAllowed):
            call(bad, PACKER.body(abs), -1).result(10)
        assert call(good, PACKER.body(abs), -2).result(10) == 2


def test_a_callback_may_submit_and_even_end_everything() -> None:
    with double_node() as (_, connection):
        job = connection.open_job(JobOptions())
        body = PACKER.body(abs)
        chained: list[TaskFuture] = []
        done = threading.Event()

        def again(_future: object) -> None:
            chained.append(call(job, body, -len(chained)))
            if len(chained) < 200:
                chained[-1].add_done_callback(again)
            else:
                connection.close_when_idle()
                done.set()

        call(job, body, 1).add_done_callback(again)
        assert done.wait(10)
        assert [future.result(10) for future in chained] == list(range(200))
        connection.wait_idle()


@pytest.mark.parametrize("trusted", [False, True])
def test_another_owners_pickle_is_opened_only_if_trusted(trusted: bool) -> None:
    import pickle  # noqa: TID251

    finished = Finished(0, 0, value=Inline(pickle.dumps(range(3))), pickled=True)
    with double_node() as (double, connection):
        double.own = False
        double.on_task = lambda job, _task: double.report(job, finished)
        future = call(connection.open_job(JobOptions(trust_results=trusted)), PACKER.body(abs), 1)
        if trusted:
            assert future.result(10) == range(3)
        else:
            with pytest.raises(ResultNotEncodable, match="trust_results"):
                future.result(10)


def test_a_node_that_speaks_out_of_turn_ends_the_connection_not_the_program() -> None:
    with double_node() as (double, connection):
        double.on_task = lambda _job, _task: double.ours.sendall(b"\0\0\0\2\1\xff\xff") or None
        with pytest.raises(Exception, match="does not parse"):
            call(connection.open_job(JobOptions()), PACKER.body(abs), 1).result(10)


def test_a_greeting_that_fails_reaches_the_tasks() -> None:
    double = Double()
    double.ours.close()
    connection = Connection(lambda: greet(double.theirs))
    connection.start()
    future = call(connection.open_job(JobOptions()), PACKER.body(abs), 1)
    with pytest.raises(LinkLost):
        future.result(10)
    connection.close()
    double.stop()


def test_a_worker_that_was_lost_is_an_error_of_that_task_only() -> None:
    with double_node() as (double, connection):
        double.on_task = lambda job, task: (
            double.report(job, Finished(task.index, 3, fault=Fault(44, "the worker died")))
            if task.index == 0
            else double.run(job, task)
        )
        job = connection.open_job(JobOptions())
        lost, fine = (call(job, PACKER.body(abs), -1) for _ in range(2))
        assert type(lost.exception(10)).__name__ == "WorkerLost"
        assert fine.result(10) == 1


def test_lone_calls_of_many_threads_each_get_their_own_result() -> None:
    """Whoever finds nothing under way sends its call itself; none is sent twice or by nobody."""
    body = PACKER.body(len)
    with double_node() as (double, connection):
        job = connection.open_job(JobOptions())
        assert call(job, body, b"").result(10) == 0

        def one_by_one(most: int) -> None:
            for size in range(most):
                assert call(job, body, bytes(size)).result(30) == size

        threads = [threading.Thread(target=one_by_one, args=(100,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        connection.wait_idle()
        sent = [task.index for one in double.received if isinstance(one, control.Submit) for task in one.tasks]
        assert sorted(sent) == list(range(401))


def test_a_lone_call_on_a_broken_connection_fails() -> None:
    with double_node() as (double, connection):
        job = connection.open_job(JobOptions())
        body = PACKER.body(len)
        assert call(job, body, b"x").result(10) == 1
        double.stop()
        with pytest.raises(LinkLost):
            while True:
                call(job, body, b"x").result(10)
