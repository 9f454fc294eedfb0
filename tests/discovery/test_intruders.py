"""On real sockets, against whoever wants in without the code, or wants to be taken for the inviter."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import trio
from potluck.discovery import knocking, spake
from potluck.discovery.beacon import read_datagram
from potluck.discovery.codes import Code, parse
from potluck.discovery.pairing import GUESSES
from potluck.discovery.seeking import RESPONDERS_MAX
from potluck.overlay.errors import LinkLost, PotluckError
from potluck.overlay.ports import Address, Stream, StreamHandler
from potluck.overlay.transport.multicast import MulticastGroup
from potluck.overlay.wire.beacon import SEEKING, Offer, Seek
from potluck.overlay.wire.pairing import TO_INVITER, TO_JOINER, Admit, Ask, Confirm, Reply
from potluck.simulations.entropy import SeededEntropy

from ..overlay.transport.members import a_folder
from ..strategies.identities import member
from .test_door import DISCOVERY, ENOUGH_S, LOOPBACK, House, at_the_door, knock, other_than

CODE = parse("7-copper-lantern")
FALSE_INVITERS = 1000
SLOWEST_S = 1.0


class FalseInviter:
    """Behind every one of a thousand offers. What it is told it keeps."""

    def __init__(self) -> None:
        self.knocks = 0
        self.told: list[object] = []
        self._ways = itertools.cycle([self._lie, self._say_nothing, self._babble])

    async def receive(self, stream: Stream) -> None:
        self.knocks += 1
        try:
            await next(self._ways)(stream)
        except LinkLost:
            pass  # the joiner has gone

    async def _lie(self, stream: Stream) -> None:
        """Looks right in every way but knows no code."""
        frames = TO_INVITER.frames()
        while chunk := await stream.receive_some():
            frames.feed(chunk)
            while (body := frames.next_body()) is not None:
                message = TO_INVITER.decode(body)
                self.told.append(message)
                if isinstance(message, Ask):
                    side = spake.inviter(b"7-acorn-acorn", (b"", b""), SeededEntropy(1, "liar").token)
                    await stream.send_all(TO_JOINER.encode(Reply(side.start())))
                else:
                    await stream.send_all(TO_JOINER.encode(Admit(bytes(32), bytes(600))))

    async def _say_nothing(self, stream: Stream) -> None:
        while await stream.receive_some():
            pass  # until the joiner has had enough

    async def _babble(self, stream: Stream) -> None:
        await stream.send_all(b"\xff" * 5000)

    async def run(self, folder: Path, *, task_status: trio.TaskStatus[None]) -> None:
        house = House(folder, member(20, secret=2, owner=2), 20)
        house.network.admit_strangers(self.receive)
        group = MulticastGroup(DISCOVERY.group, DISCOVERY.port, [LOOPBACK])
        async with trio.open_nursery() as nursery:
            address = await nursery.start(house.network.serve, house._serve)
            task_status.started()
            message: object = None
            while not isinstance(message, Seek):
                message = read_datagram(SEEKING, (await group.receive())[0])
            for number in range(FALSE_INVITERS):
                offer = Offer(message.number, message.seeker, number.to_bytes(8, "big"), address.port)
                await group.send(SEEKING.encode(offer))
            await group.aclose()


def test_a_thousand_false_inviters_get_three_guesses_and_the_joiner_one_clear_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(knocking, "EXCHANGE_S", SLOWEST_S)  # of ten, which the silent ones take
    false = FalseInviter()

    async def scenario() -> None:
        with a_folder() as folder, trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                await nursery.start(false.run, folder)
                began_s = trio.current_time()
                with pytest.raises(PotluckError) as caught:
                    await knock(CODE)
                assert trio.current_time() - began_s < 3 * SLOWEST_S + ENOUGH_S / 6, "it ends, whoever answers"
                assert "\n" not in str(caught.value)
                assert str(caught.value).isprintable()
                nursery.cancel_scope.cancel()

    trio.run(scenario)
    assert 0 < false.knocks <= RESPONDERS_MAX
    assert {type(message) for message in false.told} <= {Ask, Confirm}, "a number, a key, an element and one proof"
    said = b"".join(TO_INVITER.encode(message) for message in false.told)  # type: ignore[arg-type]
    assert not any(word.encode() in said for word in CODE.words)


class Relay:
    """Sits on the wire and keeps what the joiner sends."""

    def __init__(self, to: Address) -> None:
        self._to = to
        self.recorded: list[bytes] = []
        self.has_all = trio.Event()
        """The joiner has said everything."""

    async def _between(self, joiner: trio.SocketStream) -> None:
        async with await trio.open_tcp_stream(self._to.host, self._to.port) as inviter, trio.open_nursery() as nursery:
            nursery.start_soon(self._record, joiner, inviter)
            nursery.start_soon(self._pump, inviter, joiner, lambda _data: None)

    async def _record(self, joiner: trio.SocketStream, inviter: trio.SocketStream) -> None:
        await self._pump(joiner, inviter, self.recorded.append)
        self.has_all.set()

    async def _pump(self, source: trio.SocketStream, sink: trio.SocketStream, note: Callable[[bytes], None]) -> None:
        try:
            async for data in source:
                note(data)
                await sink.send_all(data)
            await sink.send_eof()
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the other side has closed

    async def run(self, *, task_status: trio.TaskStatus[Address]) -> None:
        (listener,) = await trio.open_tcp_listeners(0, host=LOOPBACK)
        task_status.started(Address(LOOPBACK, listener.socket.getsockname()[1]))
        await trio.serve_listeners(self._between, [listener])

    async def play_again(self) -> None:
        """Byte for byte, as fast as they go; until the inviter has closed."""
        stream = await trio.open_tcp_stream(self._to.host, self._to.port)
        async with stream:
            try:
                for data in self.recorded:
                    await stream.send_all(data)
                async for _ in stream:
                    pass  # what comes cannot be read without the recorded one's keys
            except trio.BrokenResourceError:
                pass  # closed on it


def test_a_recorded_exchange_played_again_lets_nobody_in_and_costs_nobody_a_guess() -> None:
    async def play(house: House, address: Address) -> None:
        code = house.invite(count=5)
        relay = Relay(address)
        async with trio.open_nursery() as nursery:
            between = await nursery.start(relay.run)
            await knock(code, between)
            assert house.admitted == 1, "who only passes bytes on disturbs nothing"
            await relay.has_all.wait()
            assert sum(map(len, relay.recorded)) > 500
            for _ in range(GUESSES + 1):
                await relay.play_again()
            assert house.admitted == 1
            await knock(code, address)
            nursery.cancel_scope.cancel()

    assert at_the_door(play).admitted == 2


def shutting(house: House) -> trio.Event:
    """Set once the door, having been open, is shut again."""
    shut, admit_strangers = trio.Event(), house.network.admit_strangers

    def admit(handler: StreamHandler | None) -> None:
        admit_strangers(handler)
        if handler is None:
            shut.set()

    house.network.admit_strangers = admit  # type: ignore[method-assign]
    return shut


@pytest.mark.parametrize("late", ["after its time", "after three wrong ones"])
def test_the_right_code_is_too_late(late: str) -> None:
    """The fourth guess, right as it is, and an expired one."""

    async def play(house: House, address: Address) -> None:
        shut = shutting(house)
        code: Code = house.invite(life_s=0.2 if late == "after its time" else 60.0)
        if late == "after three wrong ones":
            for _ in range(GUESSES):
                with pytest.raises(PotluckError):
                    await knock(other_than(code), address)
        await shut.wait()
        for attempt in _attempts(code, address):
            with pytest.raises(PotluckError) as caught:
                await attempt()
            assert "\n" not in str(caught.value)

    assert at_the_door(play).admitted == 0


def _attempts(code: Code, address: Address) -> list[Callable[[], Awaitable[object]]]:
    return [lambda: knock(code, address), lambda: knock(code)]
