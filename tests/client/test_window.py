"""What is on its way to the node, when everything is dropped in the middle of it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest
from potluck.client.futures import Job, TaskFuture
from potluck.client.programs import Packer
from potluck.client.window import Window
from potluck.overlay.errors import LinkLost
from potluck.overlay.wire.control import JobOptions

PACKER = Packer()
BODY = PACKER.body(len)
GONE = LinkLost("the node is gone")


class Disturbed(deque[TaskFuture]):
    """Somebody else's turn comes before the n-th thing that is done with it."""

    def __init__(self, futures: list[TaskFuture], disturb: Callable[[], None], at: int) -> None:
        super().__init__(futures)
        self.disturb, self.left = disturb, at

    def _turn(self) -> None:
        self.left -= 1
        if self.left == -1:
            self.disturb()

    def __getitem__(self, index: Any) -> Any:
        self._turn()
        return super().__getitem__(index)

    def popleft(self) -> TaskFuture:
        self._turn()
        return super().popleft()

    def __bool__(self) -> bool:
        self._turn()
        return len(self) > 0


def job_of(tasks: int) -> tuple[Window, Job, list[TaskFuture]]:
    connection = SimpleNamespace(futures_lock=threading.RLock(), withdraw=lambda future: None, error=None)
    job = Job(cast("Any", connection), JobOptions())
    job.id = "j"
    window = Window()
    window.jobs = (job,)
    return window, job, [TaskFuture(job, BODY, PACKER.arguments((number,), {})) for number in range(tasks)]


def begin_to_drop(job: Job, tasks: int) -> None:
    """So far as another thread may come before this one goes on."""
    job.error = GONE
    for future in [job.backlog.popleft() for _ in range(min(tasks, len(job.backlog)))]:
        future.give_up(GONE)


@pytest.mark.parametrize("tasks", range(1, 4))
@pytest.mark.parametrize("dropped", range(4))
@pytest.mark.parametrize("at", range(10))
@pytest.mark.parametrize("killed", [set(), {0}, {1}, {0, 1}], ids=str)
def test_whatever_the_writer_is_about_nothing_that_is_dropped_is_left_without_an_end(
    tasks: int, dropped: int, at: int, killed: set[int]
) -> None:
    window, job, futures = job_of(tasks)
    for number, future in enumerate(futures):
        future.killed = number in killed
    job.backlog = Disturbed(futures, lambda: begin_to_drop(job, dropped), at)
    frames = list(window.frames())
    if not job.error:
        wanted = {future for future in futures if not future.killed}
        assert set(job.in_flight.values()) == wanted and bool(frames) == bool(wanted)
    job.drop(GONE)
    assert not job.backlog and not job.in_flight and all(future.done() for future in futures)


def test_a_lone_call_that_is_dropped_as_it_is_sent_has_an_end() -> None:
    window, job, (future,) = job_of(1)
    job.programs_sent.add(BODY.program.program_id)
    job.backlog = Disturbed([future], lambda: begin_to_drop(job, 1), at=1)
    assert window.lone_frame(future) is None
    assert future.done() and not job.in_flight


def test_a_lone_call_that_was_sent_meanwhile_takes_no_other_with_it() -> None:
    window, job, (sent, other) = job_of(2)
    job.backlog.append(sent)
    assert list(window.frames()) and sent.index == 0
    window.landed(sent)
    sent.arguments = other.arguments  # its end is not known to who asks yet
    job.backlog.append(other)
    assert window.lone_frame(sent) is None and list(job.backlog) == [other]


def test_what_is_taken_back_while_all_is_dropped_has_an_end() -> None:
    """The writer's turn comes when the one who drops has looked at the backlog, and not yet at what is in flight."""
    window, job, futures = job_of(3)
    job.backlog.extend(futures)
    assert list(window.frames()) and len(job.in_flight) == 3
    job.defer(BODY).add_done_callback(lambda _: window.take_back())
    job.drop(GONE)
    assert not job.backlog and not job.in_flight and all(future.done() for future in futures)
