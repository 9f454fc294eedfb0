"""What is on its way to the node: how much there may be, and the frames that it goes in."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Final

from ..overlay.wire import control
from ..overlay.wire.control import TO_NODE, TaskSpec
from ..overlay.wire.work import Inline, Reference
from .futures import Job, TaskFuture
from .programs import Body, travels_inline
from .uploads import Sent, Towards, named, upload

WINDOW_TASKS: Final = 16_384
WINDOW_BYTES: Final = 32 << 20
"""In flight towards the node; the rest waits in the program."""
BATCH_TASKS: Final = 4096
BATCH_BYTES: Final = 256 << 10


class Window:
    """Any thread may look and add to what waits. One at a time takes `frames`; what has `landed` the reader says."""

    def __init__(self) -> None:
        self.urgent: deque[bytes] = deque()
        self.cancels: deque[TaskFuture] = deque()
        self.jobs: tuple[Job, ...] = ()
        """By priority."""
        self.towards = Towards(b"", takes_parcels=False)
        """Known once there is a connection."""
        self.closed: Callable[[str], object] = lambda job_id: None
        """Told of jobs that the node is told to forget."""
        self._sent_tasks = self._sent_bytes = 0
        self._done_tasks = self._done_bytes = 0

    @property
    def has_work(self) -> bool:
        if self.urgent or self.cancels:
            return True
        if any(job.wants_opening or job.wants_closing for job in self.jobs):
            return True
        return self._room() > 0 and any(job.backlog for job in self.jobs if job.id is not None)

    @property
    def wants_link(self) -> bool:
        """Whether there is anything to say at all, while nobody listens."""
        return bool(self.urgent) or any(job.backlog for job in self.jobs)

    def lone_frame(self, future: TaskFuture) -> bytes | None:
        """Of a short call while nothing else is under way, which the system cannot but take at once."""
        job, arguments = future.job, future.arguments
        if (
            job.id is None
            or arguments is None
            or self._sent_tasks != self._done_tasks
            or not travels_inline(arguments, future.size_bytes)
            or future.program.program.program_id not in job.programs_sent
            or job.first() is not future  # somebody else may have sent it meanwhile
            or len(job.backlog) != 1
            or future.unwanted
        ):
            return None
        if not self._launch(job, future):
            return None
        assert future.index is not None
        spec = TaskSpec(future.index, arguments, future.kind)
        return TO_NODE.encode(control.Submit(job.id, future.program.without_body, [spec]))

    def landed(self, future: TaskFuture) -> None:
        future.let_go()
        self._done_tasks += 1
        self._done_bytes += future.size_bytes

    def take_back(self) -> list[TaskFuture]:
        """After a link is lost, with nobody sending or reading: all is as if no node had heard of it.

        Returns those that must not be sent again.
        """
        self.urgent.clear()
        self._sent_tasks = self._sent_bytes = self._done_tasks = self._done_bytes = 0
        return [future for job in self.jobs for future in job.take_back()]

    def _room(self) -> int:
        """Tasks the window has room for. One may always go, however long."""
        waiting = self._sent_tasks - self._done_tasks
        if waiting and self._sent_bytes - self._done_bytes >= WINDOW_BYTES:
            return 0
        return WINDOW_TASKS - waiting

    def unasked(self) -> Iterator[Job]:
        """Those the node is to open first."""
        for job in self.jobs:
            if job.wants_opening:
                job.is_asked_for = True
                yield job

    def frames(self) -> Iterator[Sent]:
        """What is to be sent now, in pieces worth a call each."""
        while self.urgent:
            yield self.urgent.popleft()
        yield from self._withdrawals()
        yield from self._farewells()
        for job in self.jobs:
            while job.id is not None and job.backlog and (room := self._room()) > 0:
                yield from self._batch(job, job.id, min(room, BATCH_TASKS))

    def _withdrawals(self) -> Iterator[bytes]:
        by_job: dict[str, list[int]] = {}
        while self.cancels:
            future = self.cancels.popleft()
            if future.job.id is not None and future.index is not None and not future.attempts:
                by_job.setdefault(future.job.id, []).append(future.index)
        for job, indexes in by_job.items():
            for start in range(0, len(indexes), BATCH_TASKS):
                yield TO_NODE.encode(control.CancelTasks(job, indexes[start : start + BATCH_TASKS]))

    def _farewells(self) -> Iterator[bytes]:
        for job in self.jobs:
            if job.wants_closing:
                job_id = job.id
                assert job_id is not None
                job.forget_node()
                self.closed(job_id)
                yield TO_NODE.encode(control.CloseJob(job_id))

    def _batch(self, job: Job, job_id: str, tasks_max: int) -> Iterator[Sent]:
        """The next tasks that share a program. A payload too long for a frame goes ahead."""
        body: Body | None = None
        tasks: list[TaskSpec] = []
        size_bytes = 0
        while len(tasks) < tasks_max and size_bytes < BATCH_BYTES and (future := job.first()) is not None:
            if future.unwanted:
                if job.take_first(future):
                    future.drop()
                continue
            if body is not None and future.program is not body:
                break
            arguments = future.arguments
            if arguments is None or not self._launch(job, future):
                break  # the job was dropped meanwhile
            body = future.program
            payload: Inline | Reference
            if travels_inline(arguments, future.size_bytes):
                payload = arguments
            else:
                payload = yield from upload(arguments, self.towards)
                tasks_max = 0  # the window is looked at again after each of these
            size_bytes += future.size_bytes
            assert future.index is not None
            tasks.append(TaskSpec(future.index, payload, future.kind))
        if body is not None and tasks:
            for library in body.libraries:
                if library.program.program_id not in job.programs_sent:
                    program = yield from named(job, library, self.towards)
                    yield TO_NODE.encode(control.Submit(job_id, program, []))
            program = yield from named(job, body, self.towards)
            yield TO_NODE.encode(control.Submit(job_id, program, tasks))

    def _launch(self, job: Job, future: TaskFuture) -> bool:
        if not job.launch(future):
            return False
        if future.unwanted:  # since the first look, before the number, where `withdraw` saw none
            self.cancels.append(future)
        self._sent_tasks += 1
        self._sent_bytes += future.size_bytes
        return True
