"""Conversations of a running task with its node, as programs have them: the node's end, used as a stream.

Each is served for as long as its task runs, and no longer. What a task says waits here until it is read; what it is
told waits in its worker's outbox, and whoever tells it more waits for that.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from ...overlay.bell import Bell
from ...overlay.errors import RemoteProtocolError
from ...overlay.outbox import Outbox
from ...overlay.parcels import Parcel
from ...overlay.wire.worker import TO_WORKER, LineHeard, LineSaid
from .tasks import Task

UNREAD_BYTES_MAX: Final = 64 << 20
"""On all lines of a worker together."""
UNHEARD_BYTES_MAX: Final = 4 << 20
_SAID_BYTES: Final = 64
"""What a part takes beside its bytes."""
LINES_MAX: Final = 32
"""Open or about to be closed; a task opens fewer at once."""


class TaskLine:
    takes_parcels = False

    def __init__(self, number: int, outbox: Outbox) -> None:
        self.number = number
        self._outbox = outbox
        self._unread: deque[bytes] = deque()
        self.unread_bytes = 0
        self._closed = False
        self._news = Bell()

    def take(self, data: bytes) -> None:
        self._unread.append(data)
        self.unread_bytes += len(data) + _SAID_BYTES
        self._news.ring()

    def close(self) -> None:
        self._closed = True
        self._news.ring()

    async def receive_some(self) -> bytes:
        """b"" once the task has ended or has hung up."""
        while not self._unread:
            if self._closed:
                return b""
            await self._news.heard()
        data = self._unread.popleft()
        self.unread_bytes -= len(data) + _SAID_BYTES
        return data

    def claim(self, size_bytes: int) -> Parcel:
        raise RemoteProtocolError("no parcels go with what a task says")

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        if not self._closed:
            self._outbox.put(TO_WORKER.encode(LineHeard(self.number, bytes(data))))
        return self._outbox.queued_bytes < UNHEARD_BYTES_MAX

    async def flush(self) -> None:
        await self._outbox.wait_below(UNHEARD_BYTES_MAX)


Serve = Callable[[TaskLine, Task], Awaitable[None]]
"""Serves a line as a program's connection, until it ends: with the task, or because the line was broken."""


class Lines:
    """Of one worker."""

    def __init__(self, serve: Serve, outbox: Outbox) -> None:
        self._serve = serve
        self._outbox = outbox
        self._open: dict[int, TaskLine] = {}

    def said(self, said: LineSaid, task: Task, nursery: trio.Nursery) -> None:
        """By the task that runs. Raises RemoteProtocolError."""
        line = self._open.get(said.line)
        if not said.data:
            if line is not None:
                line.close()
        elif line is not None:
            line.take(said.data)
        elif len(self._open) >= LINES_MAX:
            raise RemoteProtocolError("it has too many conversations with its node")
        else:
            line = self._open[said.line] = TaskLine(said.line, self._outbox)
            line.take(said.data)
            nursery.start_soon(self._attend, line, task)
        if sum(one.unread_bytes for one in self._open.values()) > UNREAD_BYTES_MAX:
            raise RemoteProtocolError("it says more than can be read")

    def end(self) -> None:
        """The task has ended."""
        for line in self._open.values():
            line.close()

    async def _attend(self, line: TaskLine, task: Task) -> None:
        try:
            await self._serve(line, task)
        finally:
            line.close()
            del self._open[line.number]
            self._outbox.put(TO_WORKER.encode(LineHeard(line.number, b"")))
