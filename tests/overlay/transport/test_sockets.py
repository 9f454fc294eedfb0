"""Bytes over sockets of the system."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.errors import LinkLost
from potluck.overlay.outbox import Outbox
from potluck.overlay.transport.sockets import SocketStream

Play = Callable[[SocketStream, SocketStream], Awaitable[None]]


def with_pair(play: Play) -> None:
    async def main() -> None:
        one, other = (SocketStream(end, "the other side is gone") for end in socket.socketpair())
        with trio.fail_after(20):
            await play(one, other)
        one.close()
        other.close()

    trio.run(main)


async def read(stream: SocketStream, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        data += await stream.receive_some()
    return bytes(data)


@settings(max_examples=25, deadline=None)
@given(sizes=st.lists(st.one_of(st.integers(1, 50), st.integers(1, 3 << 20)), min_size=1, max_size=6))
def test_what_is_sent_without_waiting_arrives_in_order(sizes: list[int]) -> None:
    pieces = [bytes([number + 1]) * size for number, size in enumerate(sizes)]

    async def play(mine: SocketStream, theirs: SocketStream) -> None:
        async with trio.open_nursery() as nursery:
            gone = [mine.send_now(piece) for piece in pieces]
            if not all(gone):
                nursery.start_soon(mine.flush)
                nursery.start_soon(mine.flush)
            assert await read(theirs, sum(sizes)) == b"".join(pieces)
        assert mine.send_now(b"x"), "nothing is left over"

    with_pair(play)


def test_the_end_is_read_behind_everything_else() -> None:
    async def play(mine: SocketStream, theirs: SocketStream) -> None:
        await mine.send_all(bytes(100_000))
        mine.close()
        assert len(await read(theirs, 100_000)) == 100_000
        assert await theirs.receive_some() == b""

    with_pair(play)


def test_sending_to_who_is_gone_is_a_lost_link() -> None:
    async def play(mine: SocketStream, theirs: SocketStream) -> None:
        theirs.close()
        with pytest.raises(LinkLost, match="the other side is gone"):
            while True:
                await mine.send_all(bytes(1000))

    with_pair(play)


@pytest.mark.parametrize("wait", [SocketStream.receive_some, SocketStream.flush])
def test_closing_wakes_whoever_waits_and_refuses_who_comes_after(
    wait: Callable[[SocketStream], Awaitable[object]],
) -> None:
    async def play(mine: SocketStream, theirs: SocketStream) -> None:
        async def waiting() -> None:
            with pytest.raises(LinkLost):
                await wait(mine)

        mine.send_now(bytes(8 << 20))  # more than the system takes
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waiting)
            await trio.testing.wait_all_tasks_blocked()
            mine.close()
        await waiting()

    with_pair(play)


class _Sleeps(trio.abc.Instrument):
    """What had arrived at a socket each time the event loop was about to sleep; earlier than outboxes are emptied."""

    def __init__(self, end: socket.socket) -> None:
        self.arrived: list[bytes] = []
        self._end = end

    def before_io_wait(self, timeout: float) -> None:
        try:
            self.arrived.append(self._end.recv(1 << 20))
        except BlockingIOError:
            self.arrived.append(b"")


@pytest.mark.parametrize(("size_bytes", "at_once"), [(10, True), (4000, False)], ids=["of one", "of many"])
def test_the_answer_to_a_lone_message_leaves_before_the_turn_ends(size_bytes: int, at_once: bool) -> None:
    async def main() -> None:
        end, theirs = socket.socketpair()
        end.setblocking(False)
        stream, outbox, sleeps = SocketStream(theirs, "gone"), Outbox(), _Sleeps(end)

        async def echo() -> None:
            while data := await stream.receive_some():
                outbox.put(data)

        trio.lowlevel.add_instrument(sleeps)  # before the outbox adds its own
        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, stream)
            nursery.start_soon(echo)
            await trio.testing.wait_all_tasks_blocked()
            sleeps.arrived.clear()
            end.send(bytes(size_bytes))
            while not any(sleeps.arrived):
                await trio.testing.wait_all_tasks_blocked()
            # The first sleep is the one that ends with the message.
            assert (len(sleeps.arrived[1]) == size_bytes) == at_once
            nursery.cancel_scope.cancel()
        end.close()
        stream.close()

    trio.run(main)
