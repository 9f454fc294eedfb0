"""Frames on their way out of a node."""

from __future__ import annotations

import weakref
from collections.abc import Sequence

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import LinkLost
from potluck.overlay.outbox import Outbox, ParcelOutbox
from potluck.overlay.parcels import AT_ONCE_MAX, Parcel, seal
from potluck.overlay.wire.work import Inline
from potluck.simulations import determinism


class Sink:
    """Takes so many bytes at once; the rest with a flush, which takes a while."""

    def __init__(self, at_once: int = 1 << 30, *, breaks: bool = False) -> None:
        self._at_once = at_once
        self._breaks = breaks
        self._rest = bytearray()
        self.taken = bytearray()
        self.writes_s: list[float] = []

    def send_now(self, data: bytes | bytearray | memoryview) -> bool:
        if self._breaks:
            raise LinkLost("it broke")
        self.writes_s.append(trio.current_time())
        self._rest += data
        if len(self._rest) > self._at_once:
            return False
        self._take()
        return True

    async def flush(self) -> None:
        await trio.sleep(0.1)
        self._take()

    def _take(self) -> None:
        self.taken += self._rest
        self._rest.clear()


@given(turns=st.lists(st.lists(st.binary(min_size=1, max_size=9), max_size=5), max_size=8), at_once=st.integers(0, 30))
def test_everything_leaves_in_order_whatever_the_sink_takes_at_once(turns: list[list[bytes]], at_once: int) -> None:
    sink = Sink(at_once)

    async def main() -> None:
        outbox = Outbox()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.sleep(1)
            for frames in turns:
                for frame in frames:
                    outbox.put(frame)
                await trio.lowlevel.checkpoint()
            await outbox.wait_empty()
            assert outbox.is_empty
            assert not outbox.queued_bytes
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
    assert bytes(sink.taken) == b"".join(frame for frames in turns for frame in frames)


class ParcelSink(Sink):
    """A frame is a byte; one that names a parcel is not zero."""

    def __init__(self, at_once: int) -> None:
        super().__init__(at_once)
        self.beside: list[Parcel] = []

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        self.beside += parcels
        gone = super().send_now(data)
        assert len(parcels) <= AT_ONCE_MAX
        named = sum(map(bool, self.taken + self._rest))
        assert named == len(self.beside), "neither later than what names them, nor far ahead of it"
        return gone


@given(turns=st.lists(st.lists(st.integers(-60, 160), max_size=4), max_size=4), at_once=st.integers(0, 300))
def test_parcels_leave_beside_the_frames_that_name_them(turns: list[list[int]], at_once: int) -> None:
    """So many frames in a row with a parcel each, or without."""
    sink, made = ParcelSink(at_once), seal(Inline(b"x"))
    sent = b"".join(bytes([count > 0]) * abs(count) for counts in turns for count in counts)

    async def main() -> None:
        outbox = ParcelOutbox()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.sleep(1)
            for counts in turns:
                for count in counts:
                    for _ in range(abs(count)):
                        outbox.put(bytes([count > 0]), made if count > 0 else None)
                await trio.lowlevel.checkpoint()
            await outbox.wait_empty()
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
    assert bytes(sink.taken) == sent
    assert len(sink.beside) == sum(sent)


def test_what_is_queued_in_one_turn_is_one_write_before_time_goes_on() -> None:
    async def main() -> None:
        outbox, sink = Outbox(), Sink()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.sleep(1)
            for _ in range(100):
                outbox.put(b"frame")
            assert not sink.writes_s
            await trio.sleep(1)
            assert sink.writes_s == [1.0]
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)


def test_a_full_sink_does_not_keep_the_loop_asleep() -> None:
    """In real time, where the loop has decided how long it sleeps before the sink says that it is full."""

    async def main() -> None:
        outbox, sink = Outbox(), Sink(at_once=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.sleep(0.01)
            outbox.put(b"frame")
            with trio.fail_after(10):
                await outbox.wait_empty()
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_broken_sink_is_found_by_whoever_runs_the_outbox() -> None:
    async def main() -> None:
        outbox = Outbox()
        outbox.put(b"frame")
        with trio.fail_after(10):
            await outbox.run(Sink(breaks=True))

    with pytest.raises(LinkLost):
        trio.run(main)


def test_whoever_waits_for_room_is_let_go_when_the_outbox_ends() -> None:
    async def main() -> None:
        outbox, sink = Outbox(), Sink(at_once=0)
        async with trio.open_nursery() as waiting, trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.sleep(0.01)
            outbox.put(bytes(100))
            await trio.sleep(0.05)  # the sink is at it
            outbox.put(bytes(100))
            waiting.start_soon(outbox.wait_below, 10)
            await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)


def test_nothing_stays_of_an_outbox_that_has_ended() -> None:
    """Its frames, and the parcels beside them: each is memory and a descriptor."""

    async def main() -> None:
        outbox = ParcelOutbox()
        sink = Sink(at_once=0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, sink)
            await trio.lowlevel.checkpoint()
            outbox.put(b"first")
            await trio.lowlevel.checkpoint()
            before, after = (weakref.ref(parcel) for parcel in parcels)
            outbox.put(b"\1", parcels.pop(0))
            nursery.cancel_scope.cancel()
        outbox.put(b"\1", parcels.pop())
        assert outbox.queued_bytes == 0
        assert before() is None
        assert after() is None
        await outbox.wait_below(0)
        await outbox.wait_empty()

    parcels = [seal(Inline(b"a" * 100)), seal(Inline(b"b" * 100))]
    determinism.run(main, seed=1)


def test_who_waits_for_room_before_anything_is_sent_waits() -> None:
    """And not only from when the first is on its way."""

    async def main() -> None:
        outbox, sink = Outbox(), Sink()
        outbox.put(b"x" * 100)
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(1):
                await outbox.wait_below(10)
                raise AssertionError("there was no room")
            nursery.start_soon(outbox.run, sink)
            await outbox.wait_below(10)
            assert bytes(sink.taken) == b"x" * 100
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)
