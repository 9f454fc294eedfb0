"""What is queued in one turn of the event loop leaves as one write, before the loop sleeps.

A task of its own for every writer would cost each message a turn of the loop. So the event loop itself calls whoever
has something to send, once per turn, and only what a stream cannot take at once is left to a task. Nor does the answer
to a lone message wait for whatever else a turn does: whoever has read one ends the turn for what is queued.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import trio

from .bell import Bell
from .parcels import AT_ONCE_MAX, Parcel


class Sink(Protocol):
    """Where the bytes go."""

    def send_now(self, data: bytes | bytearray | memoryview) -> bool: ...

    async def flush(self) -> None: ...


class ParcelSink(Sink, Protocol):
    """Where descriptors go, too."""

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool: ...


class Outbox:
    """EMPTY ──put──▶ DUE ──end of the turn──▶ EMPTY
                       │ the sink is full or has failed, or somebody waits for room
                       └──▶ JAMMED ──`run` has sent everything, and has woken whoever waits──▶ EMPTY

    What is put before `run` begins leaves with its beginning, what is put after its end goes nowhere.
    """

    def __init__(self) -> None:
        self._frames: list[bytes] = []
        self._bytes = 0
        self._sink: Sink | None = None
        self._ended = False
        self._jammed = False
        self._jam = Bell()
        self._error: Exception | None = None
        self._waiting = trio.lowlevel.ParkingLot()
        self._departures: _Departures | None = None

    @property
    def queued_bytes(self) -> int:
        return self._bytes

    @property
    def is_empty(self) -> bool:
        """Everything has been handed to the system."""
        return not self._frames and not self._jammed

    def put(self, frame: bytes) -> None:
        """Never waits."""
        if self._ended:
            return
        if not self._frames and self._departures is not None:
            self._departures.due.append(self._depart)
        self._frames.append(frame)
        self._bytes += len(frame)

    async def wait_below(self, bytes_max: int) -> None:
        """Until no more than this is queued. Returns, too, when `run` has ended."""
        while not self._ended and self._bytes > bytes_max:
            await self._waiting.park()

    async def wait_empty(self) -> None:
        """Until everything has been handed to the system. Returns, too, when `run` has ended."""
        while not self._ended and not self.is_empty:
            await self._waiting.park()

    async def run(self, sink: Sink) -> None:
        """Sends until cancelled. Raises what the sink raises."""
        self._sink = sink
        self._departures = _of_this_run()
        if self._frames:
            self._departures.due.append(self._depart)
        try:
            while True:
                await self._jam.heard()
                if self._error is not None:
                    raise self._error
                await self._send_all(sink)
                self._jammed = False
                self._waiting.unpark_all()
        finally:
            self._ended = True
            self._sink = self._departures = None
            self._let_go()
            self._waiting.unpark_all()

    def _let_go(self) -> None:
        self._frames.clear()
        self._bytes = 0

    async def _send_all(self, sink: Sink) -> None:
        await sink.flush()
        while self._frames:
            if not self._hand_over(sink):
                await sink.flush()

    def _hand_over(self, sink: Sink) -> bool:
        return sink.send_now(self._take())

    def _take(self) -> bytes:
        frames, self._frames, self._bytes = self._frames, [], 0
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _depart(self) -> None:
        """At the end of a turn."""
        if self._sink is None or self._jammed or self._departures is None:
            return
        try:
            all_gone = self._hand_over(self._sink) and not self._frames
        except Exception as error:  # noqa: BLE001  raised by `run`, where it is expected; here trio would only log it
            self._error, all_gone = error, False
        if not all_gone or self._waiting:
            self._jammed = True
            self._departures.wake(self._jam)


class ParcelOutbox(Outbox):
    """For a socket of this machine: parcels go beside the frames that name them, in the same order and no later."""

    def __init__(self) -> None:
        super().__init__()
        self._parcels: deque[tuple[int, Parcel]] = deque()
        """Each with the number of its frame, since the outbox began."""
        self._frames_before = 0

    def put(self, frame: bytes, parcel: Parcel | None = None) -> None:
        if parcel is not None and not self._ended:
            self._parcels.append((self._frames_before + len(self._frames), parcel))
        super().put(frame)

    def _let_go(self) -> None:
        super()._let_go()
        self._parcels.clear()

    def _hand_over(self, sink: ParcelSink) -> bool:  # type: ignore[override]  # `run` is given nothing else
        if not self._parcels:
            self._frames_before += len(self._frames)
            return sink.send_now(self._take())
        later = self._frames_later()
        self._frames_before += len(self._frames)
        data = self._take()
        for frame in later:
            super().put(frame)
        due = [self._parcels.popleft()[1] for _ in range(min(AT_ONCE_MAX, len(self._parcels)))]
        return sink.send_now(data, due)

    def _frames_later(self) -> list[bytes]:
        """Those from the first parcel on that is one too many for one write."""
        if len(self._parcels) <= AT_ONCE_MAX:
            return []
        cut = self._parcels[AT_ONCE_MAX][0] - self._frames_before
        later, self._frames = self._frames[cut:], self._frames[:cut]
        return later


class _Departures(trio.abc.Instrument):
    """Of one run of the event loop."""

    def __init__(self) -> None:
        self.due: list[Callable[[], None]] = []
        self._falls_asleep = False

    def before_io_wait(self, timeout: float) -> None:
        self._falls_asleep = timeout > 0
        self.leave()
        self._falls_asleep = False

    def leave(self) -> None:
        due, self.due = self.due, []
        for depart in due:
            depart()

    def wake(self, bell: Bell) -> None:
        """A loop that has decided how long it sleeps is woken from outside only."""
        if self._falls_asleep:
            trio.lowlevel.current_trio_token().run_sync_soon(bell.ring)
        else:
            bell.ring()


_departures: Final = trio.lowlevel.RunVar[_Departures]("departures")


def _of_this_run() -> _Departures:
    try:
        return _departures.get()
    except LookupError:
        made = _Departures()
        _departures.set(made)
        trio.lowlevel.add_instrument(made)
        return made


def depart_by_clock() -> None:
    """In this run nothing leaves but by `end_turn`."""
    _departures.set(_Departures())


def end_turn() -> None:
    """Sends what is queued. For whoever is through with all that has come; and for a clock that moves when everybody
    waits, before it does."""
    try:
        _departures.get().leave()
    except LookupError:
        pass  # the run has only begun
