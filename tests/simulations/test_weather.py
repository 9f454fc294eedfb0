"""What is wrong with ways: lost messages are stalls and breaks, never missing bytes."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.config import Config
from potluck.overlay.errors import LinkLost
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import found, make_identity
from potluck.overlay.ports import Stream
from potluck.simulations import determinism
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork
from potluck.simulations.weather import LATE_MAX_S, RESEND_S, Weather

HERE, THERE = "10.0.0.1", "10.0.0.2"
Play = Callable[[Ether, Stream, Stream], Awaitable[None]]


def network(ether: Ether, host: str) -> VirtualNetwork:
    entropy = SeededEntropy(1, host)
    mesh = found(bytes(32), KeyPair.from_seed(entropy.token(32)))
    identity = make_identity(mesh, "n", KeyPair.from_seed(entropy.token(32)), entropy)
    return VirtualNetwork(ether, host, Config("n", Path("nowhere"), Path("nowhere")), identity)


def with_stream(play: Play, weather: Weather, seed: int = 1) -> None:
    async def main() -> None:
        ether = Ether(seed, weather=weather)
        accepted, arrivals = trio.open_memory_channel[Stream](8)

        async def take(stream: Stream) -> None:
            await accepted.send(stream)
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            address = await nursery.start(network(ether, THERE).serve, take)
            mine = await network(ether, HERE).dial(address)
            await play(ether, mine, await arrivals.receive())
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=seed)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1 << 32), loss=st.floats(0, 0.6), sizes=st.lists(st.integers(1, 5000), max_size=40))
def test_a_stream_stalls_or_breaks_and_never_loses_a_byte_in_between(seed: int, loss: float, sizes: list[int]) -> None:
    """What arrives is a beginning of what was sent, and all of it unless both ends know that the stream broke."""
    sent, received = bytearray(), bytearray()

    async def play(ether: Ether, mine: Stream, theirs: Stream) -> None:
        broke = [False, False]

        async def read() -> None:
            try:
                while chunk := await theirs.receive_some():
                    received.extend(chunk)
            except LinkLost:
                broke[1] = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)
            try:
                for number, size in enumerate(sizes):
                    await mine.send_all(bytes([number]) * size)
                    sent.extend(bytes([number]) * size)
                await mine.aclose()
            except LinkLost:
                broke[0] = True
        assert sent.startswith(received) or received.startswith(sent)
        assert broke[1] or received == sent

    with_stream(play, Weather(seed, loss=loss), seed)


def test_lost_messages_wait_as_long_as_tcp_would_and_hold_up_what_follows() -> None:
    late = Weather(1, loss=0.3)
    delays = [late.late_s(HERE, THERE) for _ in range(3000)]
    assert set(delays) <= {0.0, *(RESEND_S * (2**losses - 1) for losses in range(1, 5)), math.inf}
    assert 0.25 < sum(delay > 0 for delay in delays) / len(delays) < 0.35
    assert 0 < sum(delay == math.inf for delay in delays) < 30
    assert late.late_s(HERE, HERE) == 0.0, "a machine does not lose what it says to itself"


def test_a_slow_way_has_a_long_tail_and_an_end() -> None:
    weather = Weather(1)
    weather.slow((HERE, THERE), 0.1)
    delays = sorted(weather.late_s(HERE, THERE) for _ in range(5000))
    assert delays[0] >= 0.1 and delays[2500] < 0.2
    assert delays[-1] > 2.0 and delays[-1] <= LATE_MAX_S
    assert weather.late_s(THERE, HERE) == 0.0
    weather.slow((HERE, THERE), 0.0)
    assert weather.late_s(HERE, THERE) == 0.0


def test_a_clogged_way_carries_a_trickle() -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream) -> None:
        ether.weather.clog((HERE, THERE), 10_000)
        began_s = trio.current_time()
        await mine.send_all(bytes(20_000))
        await theirs.receive_some()
        assert 2.0 <= trio.current_time() - began_s < 2.1
        ether.weather.clog((HERE, THERE), 0)
        began_s = trio.current_time()
        await mine.send_all(bytes(20_000))
        await theirs.receive_some()
        assert trio.current_time() - began_s < 0.1

    with_stream(play, Weather(1))


def test_a_cut_in_one_direction_leaves_the_other_and_cuts_add_up() -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream) -> None:
        for _ in range(2):
            ether.cut(HERE, THERE)
        await mine.send_all(b"unheard")
        await theirs.send_all(b"heard")
        assert await mine.receive_some() == b"heard"
        ether.mend(HERE, THERE)
        with trio.move_on_after(30) as scope:
            await theirs.receive_some()
        assert scope.cancelled_caught
        ether.mend(HERE, THERE)
        assert await theirs.receive_some() == b"unheard"

    with_stream(play, Weather(1))


def test_streams_that_break_say_so_at_both_ends() -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream) -> None:
        await mine.send_all(b"lost on the way")
        ether.break_streams(HERE, THERE)
        await mine.send_all(b"not known yet, and lost too")
        for end in (mine, theirs):
            with pytest.raises(LinkLost):
                await end.receive_some()

    with_stream(play, Weather(1))


def test_datagrams_are_lost_and_come_twice() -> None:
    weather = Weather(1, loss=0.2, duplicate=0.3)
    copies = [weather.copies(HERE, THERE) for _ in range(5000)]
    assert {0, 1, 2} == set(copies)
    assert 0.17 < copies.count(0) / 5000 < 0.23
    assert 0.2 < copies.count(2) / 5000 < 0.28


def test_the_weather_of_one_way_does_not_depend_on_the_others() -> None:
    alone, both = Weather(7, loss=0.5), Weather(7, loss=0.5)
    mixed = []
    for _ in range(50):
        both.late_s(THERE, HERE)
        mixed.append(both.late_s(HERE, THERE))
    assert mixed == [alone.late_s(HERE, THERE) for _ in range(50)]
