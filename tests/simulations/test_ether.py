"""What can go wrong on the virtual LAN, seen from a stream."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from potluck.overlay.config import Config
from potluck.overlay.errors import DeadlineExceeded, LinkLost
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import found, make_identity
from potluck.overlay.ports import Address, Stream
from potluck.simulations import determinism
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork

HERE, THERE = "10.0.0.1", "10.0.0.2"


def _network(ether: Ether, host: str) -> VirtualNetwork:
    entropy = SeededEntropy(1, host)
    mesh = found(bytes(32), KeyPair.from_seed(entropy.token(32)))
    identity = make_identity(mesh, "n", KeyPair.from_seed(entropy.token(32)), entropy)
    return VirtualNetwork(ether, host, Config("n", Path("nowhere"), Path("nowhere")), identity)


def with_stream(play: Callable[[Ether, Stream, Stream, Address], Awaitable[None]]) -> None:
    async def main() -> None:
        ether = Ether(seed=1)
        accepted, arrivals = trio.open_memory_channel[Stream](8)

        async def take(stream: Stream) -> None:
            await accepted.send(stream)
            await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            address = await nursery.start(_network(ether, THERE).serve, take)
            mine = await _network(ether, HERE).dial(address)
            await play(ether, mine, await arrivals.receive(), address)
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)


def test_a_killed_node_resets_its_streams_after_what_it_had_sent() -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream, address: Address) -> None:
        await theirs.send_all(b"last words")
        ether.kill_node(THERE)
        assert await mine.receive_some() == b"last words"
        with pytest.raises(LinkLost):
            await mine.receive_some()
        with pytest.raises(LinkLost):
            await mine.send_all(b"x")
        with pytest.raises(LinkLost):
            await theirs.send_all(b"the dead do not speak")
        with pytest.raises(LinkLost) as caught:
            await _network(ether, HERE).dial(address)
        assert caught.value.refused

    with_stream(play)


def test_a_machine_without_power_is_silent_until_it_is_back_and_denies_its_streams() -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream, address: Address) -> None:
        await theirs.send_all(b"lost on the way")
        ether.power_off(THERE)
        with trio.move_on_after(60) as scope:
            await mine.receive_some()
        assert scope.cancelled_caught
        await mine.send_all(b"into the dark")
        with pytest.raises(DeadlineExceeded):
            await _network(ether, HERE).dial(address)
        ether.power_on(THERE)
        with pytest.raises(LinkLost):
            await mine.receive_some()

    with_stream(play)


@pytest.mark.parametrize("how", ["unplugged", "partitioned"])
def test_what_is_cut_off_comes_late_and_in_order(how: str) -> None:
    async def play(ether: Ether, mine: Stream, theirs: Stream, address: Address) -> None:
        if how == "unplugged":
            ether.unplug(THERE)
        else:
            ether.partition({THERE: 1})
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_expect_words, theirs, 30.0)
            for word in (b"one ", b"two ", b"three"):
                await mine.send_all(word)
                await trio.sleep(10)
            with pytest.raises(DeadlineExceeded):
                await _network(ether, HERE).dial(address)
            if how == "unplugged":
                ether.plug(THERE)
            else:
                ether.heal()

    with_stream(play)


async def _expect_words(stream: Stream, not_before_s: float) -> None:
    assert await stream.receive_some() == b"one two three"
    assert trio.current_time() >= not_before_s


def test_a_partition_leaves_each_side_whole() -> None:
    ether = Ether(seed=1)
    for host in ("a", "b", "c", "d"):
        ether.host(host)
    ether.partition({"c": 1, "d": 1})
    pairs = [(one, other) for one in "abcd" for other in "abcd" if ether.connected(one, other)]
    assert pairs == [(one, other) for one in "abcd" for other in "abcd" if (one in "ab") == (other in "ab")]


def test_delays_follow_from_the_seed_and_not_from_who_asks_first() -> None:
    forward, backward = Ether(seed=1), Ether(seed=1)
    ways = [("a", "b"), ("b", "a"), ("a", "c")]
    assert {way: forward.delay_s(*way) for way in ways} == {way: backward.delay_s(*way) for way in reversed(ways)}
    assert [Ether(seed=2).delay_s(*way) for way in ways] != [forward.delay_s(*way) for way in ways]


def test_a_long_transfer_takes_the_time_of_its_bytes() -> None:
    size_bytes = 25_000_000

    async def play(ether: Ether, mine: Stream, theirs: Stream, address: Address) -> None:
        began_s = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mine.send_all, bytes(size_bytes))
            received = 0
            while received < size_bytes:
                received += len(await theirs.receive_some())
        assert 0.2 <= trio.current_time() - began_s <= 0.4  # 25 MB at gigabit speed, and some waiting for room

    with_stream(play)
