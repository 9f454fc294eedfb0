"""The worker's end of its pipe, and how a running task asks its node something through it.

A process has at most one such pipe: the worker program opens it, `current()` is where a task finds it. The pipe's
reader is whoever waits for something, the program's main loop or a task in a call, so that no thread of ours exists.
"""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final

from ..errors import LinkLost, NoNode, from_wire
from . import values, worker

_READ_BYTES: Final = 64 << 10
"""Larger reads cost a fresh mapping each; frames that need more are read in as many turns."""
_READ_LONG_BYTES: Final = 1 << 20

Work = worker.LoadProgram | worker.RunTask


class NodePipe:
    """Blocking. Every method but `call` belongs to the main loop; `call` may come from any thread of the task."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._frames = worker.TO_WORKER.frames()
        self._work: deque[Work] = deque()
        self._withdrawn: set[int] = set()
        self._answers: dict[int, worker.NodeAnswer] = {}
        self._requests = 0
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def next_work(self) -> Work | None:
        """Waits for it. None once the node has gone."""
        while True:
            while self._work:
                item = self._work.popleft()
                if type(item) is worker.RunTask and item.task in self._withdrawn:
                    self._withdrawn.discard(item.task)
                    continue
                return item
            with self._reading:
                if not self._work and not self._receive():
                    return None

    def take_arrived(self) -> None:
        """Reads what has come, without waiting, so that a withdrawal is seen before the next task begins."""
        with self._reading:
            while self._poll.poll(0) and self._receive():
                pass

    def send(self, message: worker.WorkerReady | worker.TaskFinished | worker.NodeCall) -> None:
        """Raises OSError when the node has gone, LocalProtocolError when the message cannot be sent."""
        self._write(worker.FROM_WORKER.encode(message))

    def call(self, operation: str, arguments: object) -> object:
        packed = values.encode_bytes(arguments)
        with self._reading:
            self._requests += 1
            request = self._requests
            try:
                self._write(worker.FROM_WORKER.encode(worker.NodeCall(request, operation, packed)))
                while request not in self._answers:
                    if not self._receive():
                        raise LinkLost("the node has gone")
            except OSError as error:
                raise LinkLost(f"the node has gone: {error}") from error
            answer = self._answers.pop(request)
        if answer.code:
            raise from_wire(answer.code, answer.reason)
        return values.decode_bytes(answer.value)

    def close(self) -> None:
        os.close(self._descriptor)

    def _write(self, frame: bytes) -> None:
        with self._writing:
            written = os.write(self._descriptor, frame)
            while written < len(frame):
                written += os.write(self._descriptor, memoryview(frame)[written:])

    def _receive(self) -> bool:
        """Reads once; False at the end of the stream."""
        wanted = _READ_LONG_BYTES if self._frames.pending_bytes else _READ_BYTES
        try:
            chunk = os.read(self._descriptor, wanted)
        except ConnectionError:
            return False
        self._frames.feed(chunk)
        while (body := self._frames.next_body()) is not None:
            self._sort(worker.TO_WORKER.decode(body))
        return bool(chunk)

    def _sort(self, message: worker.LoadProgram | worker.RunTask | worker.NodeAnswer | worker.WithdrawTasks) -> None:
        if isinstance(message, worker.NodeAnswer):
            self._answers[message.request] = message
        elif isinstance(message, worker.WithdrawTasks):
            self._withdrawn.update(message.tasks)
        else:
            self._work.append(message)


_here: list[NodePipe] = []
"""This process's pipe, if it is a worker. Of the process by nature: a task's code has no other way to it."""


def enter(pipe: NodePipe) -> None:
    """Makes this process a worker. Its forked children are none: they neither hold nor use the pipe."""
    _here[:] = [pipe]
    os.register_at_fork(after_in_child=_leave)


def _leave() -> None:
    for pipe in _here:
        pipe.close()
    _here.clear()


def current() -> NodePipe | None:
    """The pipe of the worker this runs in; None in any other process."""
    return _here[0] if _here else None


def call(operation: str, arguments: object) -> object:
    """Asks the node on behalf of the running task's job. Raises what the node answers, NoNode outside a worker."""
    pipe = current()
    if pipe is None:
        raise NoNode("this is not a task of potluck")
    return pipe.call(operation, arguments)
