"""One direction of a virtual stream. Nothing runs: bytes carry the time of their arrival."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable
from typing import Final

import trio

from ..overlay.errors import PotluckError
from .ether import BYTES_PER_S, Ether, on_tick

WINDOW_BYTES: Final = 1 << 20
"""What one direction of a stream holds before its sender waits, like the buffers of sockets."""


class Pipe:
    """What was sent from `source` to `target`, when each piece arrives, and how it ends.

    While the two are cut off from each other everything waits, and comes when they are not, as TCP would send it
    again.
    """

    def __init__(self, ether: Ether, source: str, target: str) -> None:
        self._ether = ether
        self._rank = ether.draw_rank()
        self._source = source
        self._target = target
        self._pieces: deque[tuple[float, bytes]] = deque()
        self._buffered_bytes = 0
        self._wire_free_s = 0.0
        self._last_arrival_s = 0.0
        self._end_s = math.inf
        self.was_reset = False
        self._changed = trio.Event()
        """For a sender that waits for room."""
        self._reader: trio.lowlevel.Task | None = None
        self._hand_over: Callable[[], bool] | None = None
        self._error: Exception | None = None
        """That the reader is to raise."""

    def wake(self) -> None:
        """Whoever waits, at either end, looks again."""
        self._wake_sender()
        self._arrived()

    def _wake_sender(self) -> None:
        self._changed.set()
        self._changed = trio.Event()

    def _arrived(self) -> None:
        if self._reader is None:
            return
        if self._hand_over is None:
            self._resume()
        elif not self._ether.is_still(self._target):
            try:
                over = self._hand_over()
            except Exception as error:  # whatever it is, the task that reads raises it
                if self._reader is None and not isinstance(error, PotluckError):
                    raise  # whoever would have raised it was cancelled meanwhile, and it is nothing to expect
                self._error, over = error, True
            if over:
                self._resume()

    def _resume(self) -> None:
        if self._reader is not None:
            trio.lowlevel.reschedule(self._reader)
            self._reader = self._hand_over = None

    @property
    def has_room(self) -> bool:
        return self._buffered_bytes < WINDOW_BYTES

    @property
    def connected(self) -> bool:
        return self._ether.connected(self._source, self._target)

    @property
    def end_arrived(self) -> bool:
        """The other side is known to be gone, whether or not everything before has been read."""
        return self._end_s <= trio.current_time() and self.connected

    def late_s(self) -> float:
        """What the weather adds to the way of the next piece; infinity when the connection breaks over it."""
        return self._ether.weather.late_s(self._source, self._target)

    def put(self, piece: bytes, late_s: float) -> None:
        """Behind everything sent before, after its time on the wire and on the way. After the end nothing follows."""
        if self._end_s != math.inf:
            return
        ether, source, target = self._ether, self._source, self._target
        bytes_per_s = ether.weather.bytes_per_s(source, target, BYTES_PER_S)
        self._wire_free_s = max(trio.current_time(), self._wire_free_s) + len(piece) / bytes_per_s
        arrival_s = on_tick(self._wire_free_s + ether.delay_s(source, target) + late_s)
        self._last_arrival_s = max(arrival_s, self._last_arrival_s)
        self._pieces.append((self._last_arrival_s, piece))
        self._buffered_bytes += len(piece)
        self._ether.at(self._last_arrival_s, self._arrived, self._rank)

    def end(self, back: Pipe, *, reset: bool) -> None:
        """Nothing follows; the other side learns it behind everything sent before. The first end stands.

        `back` is the stream's other direction: whoever waits there for room learns it too.
        """
        if self._end_s == math.inf:
            arrival_s = on_tick(trio.current_time() + self._ether.delay_s(self._source, self._target))
            self._end_s = max(arrival_s, self._last_arrival_s)
            self.was_reset = reset
            for pipe in (self, back):
                self._ether.at(self._end_s, pipe.wake, self._rank)

    def drop(self) -> None:
        """What is under way is lost."""
        self._pieces.clear()
        self._buffered_bytes = 0
        self._wire_free_s = self._last_arrival_s = 0.0

    def take(self) -> bytes:
        """Everything that has arrived; b"" if nothing has."""
        if not self._pieces or not self.connected:
            return b""
        now_s, taken = trio.current_time(), []
        while self._pieces and self._pieces[0][0] <= now_s:
            taken.append(self._pieces.popleft()[1])
        data = taken[0] if len(taken) == 1 else b"".join(taken)
        if self._buffered_bytes >= WINDOW_BYTES:
            self._wake_sender()  # it waits for room; whoever reads is at it, and looks again by itself
        self._buffered_bytes -= len(data)
        return data

    async def wait_arrival(self) -> None:
        """Until something has arrived, or something about this pipe has changed. For one reader."""
        assert self._reader is None, "two tasks read from one stream"
        self._reader = trio.lowlevel.current_task()
        await trio.lowlevel.wait_task_rescheduled(self._give_up)

    async def each_arrival(self, hand_over: Callable[[], bool]) -> None:
        """Calls it whenever something has arrived, or something about this pipe has changed, until it says that this
        was all. What has stopped takes nothing: it looks when it goes on, as after every change. For one reader."""
        self._hand_over, self._error = hand_over, None
        await self.wait_arrival()
        if self._error is not None:
            raise self._error

    def _give_up(self, _: object) -> trio.lowlevel.Abort:
        self._reader = self._hand_over = None
        return trio.lowlevel.Abort.SUCCEEDED

    async def wait_room(self) -> None:
        """Until something about this pipe has changed. For its sender."""
        await self._changed.wait()
