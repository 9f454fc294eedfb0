"""What every `ports.Network` keeps to, real or virtual. `test_network_conformance` runs it on both."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
import trio
import trio.testing
from potluck.overlay.errors import DeadlineExceeded, LinkLost, NotAllowed, RemoteProtocolError
from potluck.overlay.ports import Address, Network, Stream

ENOUGH_S = 20.0
"""Longer than anything here takes, in real or in virtual time."""


class Party(NamedTuple):
    network: Network
    leaf_der: bytes


class Rig(NamedTuple):
    alice: Party
    bob: Party
    stranger: Party
    """Of another mesh."""
    nowhere: Address
    """A machine that is up; nothing listens at this port."""
    silent: Address
    """Whoever is there never answers."""


Scenario = Callable[[Rig], Awaitable[None]]
Run = Callable[[Scenario], None]


async def read_exactly(stream: Stream, size_bytes: int) -> bytes:
    data = bytearray()
    while len(data) < size_bytes:
        chunk = await stream.receive_some()
        assert chunk, "the stream ended early"
        data += chunk
    return bytes(data)


async def read_to_the_end(stream: Stream) -> bytes:
    data = bytearray()
    while chunk := await stream.receive_some():
        data += chunk
    return bytes(data)


async def connected(rig: Rig, nursery: trio.Nursery) -> tuple[Stream, Stream]:
    """Alice's end of a stream she dialled, and Bob's; Bob serves until the nursery is cancelled."""
    accepted, arrivals = trio.open_memory_channel[Stream](1)

    async def take(stream: Stream) -> None:
        await accepted.send(stream)
        await trio.sleep_forever()  # the stream lives as long as its handler

    address = await nursery.start(rig.bob.network.serve, take)
    mine = await rig.alice.network.dial(address)
    with trio.fail_after(ENOUGH_S):
        return mine, await arrivals.receive()


def with_streams(run: Run, play: Callable[[Stream, Stream], Awaitable[None]]) -> None:
    async def scenario(rig: Rig) -> None:
        async with trio.open_nursery() as nursery:
            mine, theirs = await connected(rig, nursery)
            with trio.fail_after(ENOUGH_S):
                await play(mine, theirs)
            await mine.aclose()
            await theirs.aclose()
            nursery.cancel_scope.cancel()

    run(scenario)


def chunks_arrive_in_order(run: Run, sizes_bytes: list[int]) -> None:
    sent = [bytes([number % 251]) * size for number, size in enumerate(sizes_bytes)]

    async def play(mine: Stream, theirs: Stream) -> None:
        async with trio.open_nursery() as nursery:
            for source, target in ((mine, theirs), (theirs, mine)):
                nursery.start_soon(send_chunks, source)
                nursery.start_soon(expect, target)

    async def send_chunks(stream: Stream) -> None:
        for chunk in sent:
            await stream.send_all(chunk)

    async def expect(stream: Stream) -> None:
        whole = b"".join(sent)
        assert await read_exactly(stream, len(whole)) == whole

    with_streams(run, play)


def each_end_sees_the_others_certificate(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        async with trio.open_nursery() as nursery:
            mine, theirs = await connected(rig, nursery)
            assert mine.leaf_der == rig.bob.leaf_der
            assert theirs.leaf_der == rig.alice.leaf_der
            await mine.aclose()
            await theirs.aclose()
            nursery.cancel_scope.cancel()

    run(scenario)


def a_stranger_is_refused_and_never_handled(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        handled = []

        async def handle(stream: Stream) -> None:
            handled.append(stream.leaf_der)
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            address = await nursery.start(rig.bob.network.serve, handle)
            with pytest.raises(NotAllowed):
                await rig.stranger.network.dial(address)
            with trio.fail_after(ENOUGH_S):  # Bob has turned the stranger away once he has served a member
                stream = await rig.alice.network.dial(address)
                await read_to_the_end(stream)
                await stream.aclose()
            nursery.cancel_scope.cancel()
        assert handled == [rig.alice.leaf_der]

    run(scenario)


def where_a_node_is_reached_is_waited_for_until_it_is_another_place(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        network = rig.alice.network
        here = network.addresses
        assert await network.moved([*here, "elsewhere"]) == here
        with trio.move_on_after(0.1) as nothing_moves:
            await network.moved(here)
        assert nothing_moves.cancelled_caught

    run(scenario)


def nobody_listening_means_refused(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        with pytest.raises(LinkLost) as caught:
            await rig.alice.network.dial(rig.nowhere)
        assert caught.value.refused

    run(scenario)


def silence_means_a_deadline(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        with trio.fail_after(ENOUGH_S), pytest.raises(DeadlineExceeded):
            await rig.alice.network.dial(rig.silent)

    run(scenario)


def closing_lets_the_peer_read_to_the_end(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        await mine.send_all(b"last words" * 5000)
        await mine.aclose()
        assert await read_to_the_end(theirs) == b"last words" * 5000
        assert await theirs.receive_some() == b""

    with_streams(run, play)


def sending_to_a_closed_peer_fails_before_long(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        await theirs.aclose()
        with pytest.raises(LinkLost):
            while True:
                await mine.send_all(bytes(65_536))
                await trio.sleep(0.001)

    with_streams(run, play)


def after_aclose_every_call_raises(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        await mine.aclose()
        await mine.aclose()
        with pytest.raises(LinkLost):
            await mine.send_all(b"x")
        with pytest.raises(LinkLost):
            await mine.receive_some()

    with_streams(run, play)


def closing_wakes_a_waiting_reader(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_loss, mine)
            await trio.sleep(0.1)
            await mine.aclose()

    async def expect_loss(stream: Stream) -> None:
        with pytest.raises(LinkLost):
            await stream.receive_some()

    with_streams(run, play)


def a_peer_that_closes_wakes_a_waiting_sender(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_loss, mine)
            await trio.sleep(0.1)
            await theirs.aclose()

    async def expect_loss(stream: Stream) -> None:
        with pytest.raises(LinkLost):
            await stream.send_all(bytes(64 << 20))

    with_streams(run, play)


def a_slow_reader_stops_the_sender(run: Run) -> None:
    size_bytes = 48 << 20

    async def play(mine: Stream, theirs: Stream) -> None:
        sent = trio.Event()

        async def send() -> None:
            await mine.send_all(bytes(size_bytes))
            sent.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            with trio.move_on_after(0.3):
                await sent.wait()
            assert not sent.is_set()
            assert len(await read_exactly(theirs, size_bytes)) == size_bytes
            await sent.wait()

    with_streams(run, play)


def a_cancelled_read_loses_nothing(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        received = bytearray()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, mine)
            while len(received) < 200:
                with trio.move_on_after(0.0007):
                    received += await theirs.receive_some()
        assert bytes(received) == bytes(range(200))

    async def trickle(stream: Stream) -> None:
        for number in range(200):
            await stream.send_all(bytes([number]))
            await trio.sleep(0.0005)

    with_streams(run, play)


def what_comes_is_handed_over_until_that_was_all(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        received = bytearray()

        def take(data: bytes) -> bool:
            received.extend(data)
            return len(received) in (100, 200)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trickle, mine, 100)
            await theirs.receive_all(take)
        await trickle(mine, 100)
        await mine.aclose()
        await theirs.receive_all(take)
        assert bytes(received) == bytes(range(100)) * 2
        await theirs.receive_all(take)  # the end is no news the second time

    async def trickle(stream: Stream, count: int) -> None:
        for number in range(count):
            await stream.send_all(bytes([number]))
            await trio.sleep(0.0005)

    with_streams(run, play)


def what_fills_all_room_is_handed_over_in_order(run: Run) -> None:
    said = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))

    async def play(mine: Stream, theirs: Stream) -> None:
        received = bytearray()

        def take(data: bytes) -> bool:
            received.extend(data)
            return len(received) == len(said)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine.send_all, said)
            await theirs.receive_all(take)
        assert received == said

    with_streams(run, play)


def much_is_handed_over_in_order_piece_by_piece(run: Run) -> None:
    said = b"".join(number.to_bytes(4, "big") for number in range(1 << 20))

    async def play(mine: Stream, theirs: Stream) -> None:
        received = bytearray()

        def take(piece: memoryview) -> bool:
            received.extend(piece)
            return len(received) == len(said)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine.send_all, said)
            await theirs.receive_long(take)
        assert received == said
        await mine.send_all(b"and something short")
        assert await theirs.receive_some() == b"and something short"
        await mine.aclose()
        await theirs.receive_long(take)  # an end in order is no error

    with_streams(run, play)


def what_is_raised_over_a_message_comes_to_who_reads(run: Run) -> None:
    async def play(mine: Stream, theirs: Stream) -> None:
        def take(data: bytes) -> bool:
            raise RemoteProtocolError(data.decode())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine.send_all, b"nonsense")
            with pytest.raises(RemoteProtocolError, match="nonsense"):
                await theirs.receive_all(take)
        await theirs.aclose()
        with pytest.raises(LinkLost):
            await theirs.receive_all(take)

    with_streams(run, play)


def two_senders_do_not_mix(run: Run) -> None:
    part = 1 << 20

    async def play(mine: Stream, theirs: Stream) -> None:
        async with trio.open_nursery() as nursery:
            for letter in (b"a", b"b"):
                nursery.start_soon(mine.send_all, letter * part)
            data = await read_exactly(theirs, 2 * part)
        assert data in (b"a" * part + b"b" * part, b"b" * part + b"a" * part)

    with_streams(run, play)


def a_handler_that_returns_has_closed_its_stream(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        async def leave(stream: Stream) -> None:
            await stream.send_all(b"bye")

        async with trio.open_nursery() as nursery:
            stream = await rig.alice.network.dial(await nursery.start(rig.bob.network.serve, leave))
            with trio.fail_after(ENOUGH_S):
                assert await read_to_the_end(stream) == b"bye"
            await stream.aclose()
            nursery.cancel_scope.cancel()

    run(scenario)


def many_dial_at_once(run: Run) -> None:
    async def echo(stream: Stream) -> None:
        await stream.send_all(await stream.receive_some())
        await stream.aclose()

    async def scenario(rig: Rig) -> None:
        async def ask(address: Address, number: int) -> None:
            stream = await rig.alice.network.dial(address)
            await stream.send_all(b"%d" % number)
            assert await read_to_the_end(stream) == b"%d" % number
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            address = await nursery.start(rig.bob.network.serve, echo)
            with trio.fail_after(ENOUGH_S):
                async with trio.open_nursery() as askers:
                    for number in range(20):
                        askers.start_soon(ask, address, number)
            nursery.cancel_scope.cancel()

    run(scenario)


def a_server_that_ends_is_refused_from_then_on(run: Run) -> None:
    async def close(stream: Stream) -> None:
        await stream.aclose()

    async def scenario(rig: Rig) -> None:
        async with trio.open_nursery() as nursery:
            address = await nursery.start(rig.bob.network.serve, close)
            await (await rig.alice.network.dial(address)).aclose()
            nursery.cancel_scope.cancel()
        with pytest.raises(LinkLost) as caught:
            await rig.alice.network.dial(address)
        assert caught.value.refused

    run(scenario)


def two_servers_share_a_machine(run: Run) -> None:
    """Ports are chosen so that both can be reached, and each dial finds the one it meant."""

    async def scenario(rig: Rig) -> None:
        async def close(stream: Stream) -> None:
            await stream.aclose()

        async with trio.open_nursery() as nursery:
            first = await nursery.start(rig.bob.network.serve, close)
            second = await nursery.start(rig.bob.network.serve, close)
            assert first.host == second.host
            assert first.port != second.port
            for address in (first, second):
                stream = await rig.alice.network.dial(address)
                assert stream.leaf_der == rig.bob.leaf_der
                await stream.aclose()
            nursery.cancel_scope.cancel()

    run(scenario)


def a_group_hears_each_datagram_and_its_source(run: Run) -> None:
    async def scenario(rig: Rig) -> None:
        alice, bob = await rig.alice.network.open_multicast(), await rig.bob.network.open_multicast()
        with trio.fail_after(ENOUGH_S):
            await alice.send(b"who is there?")
            heard = [await member.receive() for member in (bob, alice)]
            await bob.send(b"I am")
            answered = await alice.receive()
        assert [data for data, _ in heard] == [b"who is there?"] * 2
        assert answered[0] == b"I am"
        assert heard[0][1] == heard[1][1]
        await alice.aclose()
        await bob.aclose()

    run(scenario)


BEHAVIOURS = (
    each_end_sees_the_others_certificate,
    where_a_node_is_reached_is_waited_for_until_it_is_another_place,
    a_stranger_is_refused_and_never_handled,
    nobody_listening_means_refused,
    silence_means_a_deadline,
    closing_lets_the_peer_read_to_the_end,
    sending_to_a_closed_peer_fails_before_long,
    after_aclose_every_call_raises,
    closing_wakes_a_waiting_reader,
    a_peer_that_closes_wakes_a_waiting_sender,
    a_slow_reader_stops_the_sender,
    a_cancelled_read_loses_nothing,
    what_comes_is_handed_over_until_that_was_all,
    what_fills_all_room_is_handed_over_in_order,
    much_is_handed_over_in_order_piece_by_piece,
    what_is_raised_over_a_message_comes_to_who_reads,
    two_senders_do_not_mix,
    a_handler_that_returns_has_closed_its_stream,
    many_dial_at_once,
    a_server_that_ends_is_refused_from_then_on,
    two_servers_share_a_machine,
    a_group_hears_each_datagram_and_its_source,
)
