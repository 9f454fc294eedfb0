"""The worker's end of its pipe, and how a running task asks its node something through it.

A process has at most one such pipe: the worker program opens it, `current()` is where a task finds it. Whoever waits
for something reads for everybody: of several threads one reads, sorts what comes and tells the others, who wait for it
to be their turn, so that no thread of ours exists.

A task that waits for tasks which it has submitted gives its slot back meanwhile (`pausing`). One of several threads
that waits is enough: what the others do is not counted, because nobody can tell which of them wait for each other, and
a slot kept too long would be waited for for ever.
"""

from __future__ import annotations

import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final, Protocol

import msgspec

from .. import parcels
from ..errors import LimitExceeded, LinkLost, NoNode, from_wire
from . import values, worker
from .work import INLINE_BYTES_MAX, Attached, Inline

_READ_BYTES: Final = 64 << 10
"""Larger reads cost a fresh mapping each; frames that need more are read in as many turns."""
_READ_LONG_BYTES: Final = 1 << 20
_SAID_BYTES: Final = 256 << 10
CALLS_AT_ONCE_MAX: Final = 16
LINES_MAX: Final = 16

Work = worker.LoadProgram | worker.RunTask | worker.WarmUp


class Keeper(Protocol):
    """What the running task has said to go on from."""

    def save(self, state: object) -> None:
        """Raises LimitExceeded, ResultNotEncodable, NoNode when no task runs."""

    def last(self, default: object) -> object:
        """Made anew each time; `default` where there is none."""


class NodePipe:
    """Blocking. `call`, `open_line`, `save`, `pause` and `go_on` may come from any thread of the task; everything else
    belongs to the main loop."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._arrivals = parcels.Arrivals(self._socket)
        self._frames = worker.TO_WORKER.frames()
        self._work: deque[Work] = deque()
        self._withdrawn: set[int] = set()
        self._answers: dict[int, worker.NodeAnswer] = {}
        self._requests = 0
        self._calling = threading.BoundedSemaphore(CALLS_AT_ONCE_MAX)
        self._news = threading.Condition(threading.Lock())
        self._somebody_reads = False
        self._ended = False
        self._writing = threading.Lock()
        self._arrival = select.poll()
        self._arrival.register(descriptor, select.POLLIN)
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._arrival_or_wake = select.poll()
        self._arrival_or_wake.register(descriptor, select.POLLIN)
        self._arrival_or_wake.register(self._wake, select.POLLIN)
        self._task: int | None = None
        self._lines: dict[int, Line] = {}
        self._lines_opened = 0
        self._at_end: list[Callable[[], None]] = []
        self._waiting = 0
        """Threads of the task that wait for tasks it has submitted."""
        self._turn = self._turn_granted = 0

    # The main loop

    def next_work(self) -> Work | None:
        """Waits for it. None once the node has gone."""
        while True:
            while self._work:
                item = self._work.popleft()
                if type(item) is worker.RunTask and item.task in self._withdrawn:
                    self._withdrawn.discard(item.task)
                    continue
                return item
            if not self._await(lambda: bool(self._work), self._receive):
                return None

    def take_arrived(self) -> None:
        """Reads what has come, without waiting, so that a withdrawal is seen before the next task begins."""
        with self._news:
            if self._somebody_reads:
                return
            self._somebody_reads = True
        try:
            while self._arrival.poll(0) and self._receive():
                pass
        finally:
            self._read_no_more()

    def begin_task(self, task: int) -> None:
        self._task = task

    def end_task(self) -> None:
        """Nothing that it has submitted outlives it."""
        at_end, self._at_end = self._at_end, []
        for end in at_end:
            end()
        for line in list(self._lines.values()):
            line.close()
        with self._news:
            self._task = None
            self._waiting = 0

    def send(self, message: worker.FromWorker) -> None:
        """Raises OSError when the node has gone, LocalProtocolError when the message cannot be sent."""
        self._write(worker.FROM_WORKER.encode(message))

    def send_finished(self, finished: worker.TaskFinished) -> None:
        """As `send`; a long value beside the frame, where the system can."""
        value = finished.value
        if not isinstance(value, Inline) or value.size_bytes <= INLINE_BYTES_MAX:
            self.send(finished)
            return
        try:
            parcel = parcels.seal(value)
        except LimitExceeded:
            self.send(finished)
        else:
            self._write(
                worker.FROM_WORKER.encode(msgspec.structs.replace(finished, value=Attached(parcel.size_bytes))), parcel
            )

    def close(self) -> None:
        self._socket.close()
        self._arrivals.close()
        os.close(self._wake)

    # The task

    def call(self, operation: str, arguments: object) -> object:
        packed = values.encode_bytes(arguments)
        with self._calling:
            with self._news:
                self._requests += 1
                request = self._requests
            try:
                self._write(worker.FROM_WORKER.encode(worker.NodeCall(request, operation, packed)))
                if not self._await(lambda: request in self._answers, self._receive_or_wake):
                    raise LinkLost("the node has gone")
            except OSError as error:
                raise LinkLost(f"the node has gone: {error}") from error
            answer = self._answers.pop(request)
        if answer.code:
            raise from_wire(answer.code, answer.reason)
        return values.decode_bytes(answer.value)

    def open_line(self) -> Line:
        """Raises LimitExceeded, NoNode when no task runs."""
        with self._news:
            if self._task is None:
                raise NoNode("no task of potluck runs here any more")
            if len(self._lines) >= LINES_MAX:
                raise LimitExceeded(f"a task can use {LINES_MAX} executors at once")
            self._lines_opened += 1
            line = self._lines[self._lines_opened] = Line(self, self._task, self._lines_opened)
        return line

    def save(self, state: bytes, *, pickled: bool) -> None:
        """Raises NoNode when no task runs, LinkLost."""
        task = self._task
        if task is None:
            raise NoNode("no task of potluck runs here any more")
        try:
            self.send(worker.TaskSaves(task, state, pickled))
        except OSError as error:
            raise LinkLost(f"the node has gone: {error}") from error

    def when_task_ends(self, end: Callable[[], None]) -> None:
        self._at_end.append(end)

    def pause(self) -> int | None:
        """This thread waits for tasks that the returned one has submitted."""
        with self._news:
            if self._task is not None:
                self._waiting += 1
                if self._waiting == 1:
                    self._turn += 1
                    self.send(worker.TaskWaits(self._task, self._turn))
                self._tell_readers()
            return self._task

    def go_on(self, task: int | None) -> None:
        """It waits no more. If no other thread does, either, it goes on when the task has a slot again."""
        with self._news:
            if task is None or task != self._task:
                return
            self._waiting -= 1
            turn = self._turn
            if self._waiting:
                return
            self.send(worker.TaskWants(task, turn))
        self._await(
            lambda: self._turn_granted >= turn or self._waiting > 0 or self._task != task, self._receive_or_wake
        )

    # Lines

    def say(self, line: Line, data: bytes) -> None:
        for start in range(0, len(data), _SAID_BYTES):
            self.send(worker.LineSaid(line.task, line.number, bytes(data[start : start + _SAID_BYTES])))

    def await_line(self, line: Line) -> None:
        """Until something has come, or will not come any more."""
        if not self._await(lambda: bool(line.arrived) or line.is_closed, self._receive_or_wake):
            line.is_closed = True

    def hang_up(self, line: Line) -> None:
        with self._news:
            if self._lines.pop(line.number, None) is None:
                return
            self._tell_readers()
        try:
            self.send(worker.LineSaid(line.task, line.number, b""))
        except OSError:
            pass  # the node was first

    # Reading

    def _await(self, is_there: Callable[[], bool], receive: Callable[[], bool]) -> bool:
        """Until it is; False once the node has gone before that."""
        with self._news:
            while not is_there():
                if self._ended:
                    return False
                if self._somebody_reads:
                    self._news.wait()
                    continue
                self._somebody_reads = True
                self._news.release()
                goes_on = False
                try:
                    goes_on = receive()
                finally:
                    self._news.acquire()
                    self._ended = self._ended or not goes_on
                    self._somebody_reads = False
                    self._news.notify_all()
        return True

    def _read_no_more(self) -> None:
        with self._news:
            self._somebody_reads = False
            self._news.notify_all()

    def _tell_readers(self) -> None:
        """What somebody waits for may have changed without anything being read."""
        self._news.notify_all()
        os.eventfd_write(self._wake, 1)

    def _receive_or_wake(self) -> bool:
        ready = {descriptor for descriptor, _events in self._arrival_or_wake.poll()}
        if self._wake in ready:
            os.eventfd_read(self._wake)
        return self._receive() if self._socket.fileno() in ready else True

    def _receive(self) -> bool:
        """Reads once; False at the end of the stream."""
        wanted = _READ_LONG_BYTES if self._frames.pending_bytes else _READ_BYTES
        try:
            chunk = self._arrivals.receive(wanted)
        except ConnectionError:
            return False
        self._frames.feed(chunk)
        while (body := self._frames.next_body()) is not None:
            self._sort(worker.TO_WORKER.decode(body))
        return bool(chunk)

    def _sort(self, message: worker.ToWorker) -> None:
        if isinstance(message, worker.NodeAnswer):
            self._answers[message.request] = message
        elif isinstance(message, worker.WithdrawTasks):
            self._withdrawn.update(message.tasks)
        elif isinstance(message, worker.LineHeard):
            if (line := self._lines.get(message.line)) is not None:
                line.arrived.append(message.data)
        elif isinstance(message, worker.TaskGoesOn):
            self._turn_granted = message.turn
        elif isinstance(message, worker.WarmUp):
            self._work.append(message)
        elif isinstance(message, worker.LoadProgram):
            if isinstance(message.body, Attached):
                message = msgspec.structs.replace(message, body=self._opened(message.body))
            self._work.append(message)
        else:
            if isinstance(message.arguments, Attached):
                message = msgspec.structs.replace(message, arguments=self._opened(message.arguments))
            self._work.append(message)

    def _opened(self, attached: Attached) -> Inline:
        return self._arrivals.claim(attached.size_bytes).open()

    def _write(self, frame: bytes, parcel: parcels.Parcel | None = None) -> None:
        with self._writing:
            if parcel is None:
                self._socket.sendall(frame)
            else:
                parcels.send_all(self._socket, frame, [parcel])


class Line:
    """A conversation of the running task with its node, in the control protocol's words; to be used as a socket."""

    def __init__(self, pipe: NodePipe, task: int, number: int) -> None:
        self.task = task
        self.number = number
        self.arrived: deque[bytes] = deque()
        self.is_closed = False
        self._pipe = pipe

    def sendall(self, data: bytes, /) -> None:
        if self.is_closed:
            raise BrokenPipeError("the task has ended")
        self._pipe.say(self, data)

    def recv(self, _bytes_max: int, /) -> bytes:
        """What has come in one piece, however long; b"" at the end."""
        while not self.arrived and not self.is_closed:
            self._pipe.await_line(self)
        data = self.arrived.popleft() if self.arrived else b""
        self.is_closed = self.is_closed or not data
        return data

    def settimeout(self, _seconds: float | None, /) -> None:
        """A node that does not answer is gone, and the process with it."""

    def shutdown(self, _how: int, /) -> None:
        self.close()

    def close(self) -> None:
        self.is_closed = True
        self._pipe.hang_up(self)


_here: list[tuple[NodePipe, Keeper]] = []
"""This process's, if it is a worker. Of the process by nature: a task's code has no other way to them."""


def enter(pipe: NodePipe, keeper: Keeper) -> None:
    """Makes this process a worker. Its forked children are none: they neither hold nor use the pipe."""
    _here[:] = [(pipe, keeper)]
    os.register_at_fork(after_in_child=_leave)


_children: list[bool] = []
"""Not empty in a forked child of a worker."""


def _leave() -> None:
    for pipe, _keeper in _here:
        pipe.close()
    _here.clear()
    _children[:] = [True]


def check_no_child() -> None:
    """Raises NoNode in a forked child of a task, which has no way to the mesh."""
    if _children:
        raise NoNode("a child process of a task has no way to the mesh: the task itself has")


def current() -> NodePipe | None:
    """The pipe of the worker this runs in; None in any other process."""
    return _here[0][0] if _here else None


def keeper() -> Keeper | None:
    """Of what the task that runs here goes on from; None in any other process."""
    return _here[0][1] if _here else None


@contextmanager
def keeping(keeper: Keeper) -> Iterator[None]:
    """What runs within has this keeper instead. Only inside a worker; a child that is forked meanwhile has none."""
    before = _here[:]
    _here[:] = [(pipe, keeper) for pipe, _ in before]
    try:
        yield
    finally:
        _here[:] = before if _here else []


def call(operation: str, arguments: object) -> object:
    """Asks the node on behalf of the running task's job. Raises what the node answers, NoNode outside a worker."""
    pipe = current()
    if pipe is None:
        raise NoNode("this is not a task of potluck")
    return pipe.call(operation, arguments)


@contextmanager
def pausing() -> Iterator[None]:
    """While this thread waits for tasks that have been submitted here. Outside a worker, nothing."""
    pipe = current()
    if pipe is None:
        yield
        return
    task = pipe.pause()
    try:
        yield
    finally:
        pipe.go_on(task)
