"""Reads what one worker process prints, and decides when it goes home.

What is printed waits a moment for more to go with it, and goes with the task's end if that comes first. While the way
home is full nothing is read: then the pipes fill, and whoever prints waits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import trio

from ...overlay.bell import Bell
from ...overlay.ports import WorkerProcess
from . import events
from .outgoing import Outgoing
from .printed import Ended, Printed

LINGER_S: Final = 0.05
"""Shorter shows output sooner; a task that ends within it costs no message for what it printed."""
PENDING_BYTES: Final = 32 << 10
"""So much waits for no more."""
PIPE_BYTES_MAX: Final = 1 << 20
"""The most that a pipe may hold, for a task can make its own larger."""


class Listener:
    """Of one worker. `outgoing` is where the output of the task goes that runs there now, if anybody waits for it."""

    def __init__(
        self,
        worker: int,
        kept_bytes_max: int,
        outgoing: Callable[[int], Outgoing | None],
        tell: Callable[[events.Event], None],
    ) -> None:
        self._worker = worker
        self._outgoing = outgoing
        self._tell = tell
        self._printed = Printed(kept_bytes_max)
        self._room = trio.lowlevel.ParkingLot()
        self._has_rest = Bell()
        self._settling = trio.CancelScope()
        self._lingering = False

    async def run(self, process: WorkerProcess, catch_up: Callable[[], None]) -> None:
        """Until nobody can print any more. `catch_up` hears what the worker has said up to now."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._settle_rest, catch_up, nursery)
            async with trio.open_nursery() as listening:
                for stream in (1, 2):
                    listening.start_soon(self._listen, process, stream, catch_up, nursery)
            self._settling.cancel()

    def ended(self, process: WorkerProcess, stdout_end: int, stderr_end: int) -> Ended:
        """The task has ended, by its worker's word at these positions; all it printed is in the pipes."""
        for stream, end in ((1, stdout_end), (2, stderr_end)):
            self._read_to(process, stream, end)
        ended = self._printed.end(stdout_end, stderr_end)
        self._look_at_rest()
        self._room.unpark_all()  # whoever waited did so for the sake of this task
        return ended

    def lost(self, process: WorkerProcess) -> Ended:
        """The worker is about to be killed: what its task has printed up to now."""
        for stream in (1, 2):
            self._read_to(process, stream, self._printed.position(stream) + PIPE_BYTES_MAX)
        return self._printed.end(self._printed.position(1), self._printed.position(2))

    def printed_bytes(self) -> int:
        """By all its tasks so far, as far as it was read."""
        return self._printed.position(1) + self._printed.position(2)

    def room_again(self) -> None:
        self._flush()
        self._room.unpark_all()

    def _read_to(self, process: WorkerProcess, stream: int, end: int) -> None:
        most = min(end, self._printed.position(stream) + PIPE_BYTES_MAX)
        while self._printed.position(stream) < most and (data := process.read_output(stream)):
            self._printed.read(stream, data)

    async def _listen(
        self, process: WorkerProcess, stream: int, catch_up: Callable[[], None], nursery: trio.Nursery
    ) -> None:
        while await process.output_arrived(stream):
            while self._is_full():
                await self._room.park()
            if data := process.read_output(stream):
                self._printed.read(stream, data)
                self._settle(catch_up, nursery)

    def _settle(self, catch_up: Callable[[], None], nursery: trio.Nursery) -> None:
        """What is read while it catches up, because a task has ended, may be of tasks whose end it has not heard of."""
        ends = self._printed.ends
        catch_up()
        self._printed.settle(*ends)
        self._send_on(nursery)
        self._look_at_rest()

    def _look_at_rest(self) -> None:
        if self._printed.has_recent:
            self._has_rest.ring()

    async def _settle_rest(self, catch_up: Callable[[], None], nursery: trio.Nursery) -> None:
        """Of what was read with the end of one task, and is of the next."""
        with self._settling:
            while True:
                await self._has_rest.heard()
                self._settle(catch_up, nursery)

    def _is_full(self) -> bool:
        outgoing = self._outgoing(self._worker)
        return outgoing is not None and not outgoing.room

    def _send_on(self, nursery: trio.Nursery) -> None:
        if self._outgoing(self._worker) is None:
            self._printed.pending()  # it goes with the end of its task, or with the next one's
        elif self._printed.pending_bytes >= PENDING_BYTES:
            self._flush()
        elif not self._lingering:
            self._lingering = True
            nursery.start_soon(self._linger)

    async def _linger(self) -> None:
        await trio.sleep(LINGER_S)
        self._lingering = False
        self._flush()

    def _flush(self) -> None:
        outgoing = self._outgoing(self._worker)
        if outgoing is not None and outgoing.room and (pieces := self._printed.pending()):
            self._tell(events.Printed(self._worker, pieces))
