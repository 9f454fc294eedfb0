"""A node that goes where its machine is: what it listens on and what it hears, while addresses come and go."""

from __future__ import annotations

import logging
import socket

import pytest
import trio
import trio.testing
from potluck.overlay.config import Discovery
from potluck.overlay.transport import multicast
from potluck.overlay.transport.listening import Listening, open_listeners
from potluck.overlay.transport.multicast import MulticastGroup

ONE, OTHER = "127.0.0.1", "127.0.0.2"
ENOUGH_S = 10.0


async def free_port() -> int:
    listeners = await trio.open_tcp_listeners(0, host=ONE)
    port: int = listeners[0].socket.getsockname()[1]
    for listener in listeners:
        await listener.aclose()
    return port


async def echo(stream: trio.SocketStream) -> None:
    async with stream:
        async for data in stream:
            await stream.send_all(data)


async def is_open(address: str, port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream(address, port)
    except OSError:
        return False
    await stream.aclose()
    return True


def test_what_was_accepted_at_an_address_outlives_it() -> None:
    async def main() -> None:
        with trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                port = await free_port()
                listening = Listening(port, echo, nursery)
                listening.begin(await open_listeners([ONE], port))
                early = await trio.open_tcp_stream(ONE, port)
                assert await listening.move([OTHER]) == (OTHER,)
                assert await is_open(OTHER, port)
                await early.send_all(b"still here")
                assert await early.receive_some() == b"still here"
                while await is_open(ONE, port):  # the listener ends at its next turn
                    await trio.lowlevel.checkpoint()
                await early.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_a_port_that_is_taken_at_a_new_address_leaves_the_others_as_they_are(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        with trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                port = await free_port()
                taken = await trio.open_tcp_listeners(port, host=OTHER)
                listening = Listening(port, echo, nursery)
                listening.begin(await open_listeners([ONE], port))
                with caplog.at_level(logging.WARNING, "potluck.node"):
                    assert await listening.move([ONE, OTHER]) == (ONE,)
                    assert await listening.move([ONE, OTHER]) == (ONE,)
                assert caplog.text.count(f"cannot listen on {OTHER}:{port}") == 1
                assert not listening.has_all([ONE, OTHER])
                assert await is_open(ONE, port)
                await taken[0].aclose()
                assert await listening.move([ONE, OTHER]) == (ONE, OTHER)
                assert listening.has_all([ONE, OTHER])
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_listeners_are_opened_at_all_addresses_or_at_none() -> None:
    async def main() -> None:
        port = await free_port()
        taken = await trio.open_tcp_listeners(port, host=OTHER)
        with pytest.raises(OSError, match="in use"):
            await open_listeners([ONE, OTHER], port)
        assert not await is_open(ONE, port)
        await taken[0].aclose()

    trio.run(main)


def test_whoever_waits_for_datagrams_hears_those_of_the_new_place() -> None:
    async def main() -> None:
        port, heard = await free_port(), list[tuple[bytes, str]]()
        group, caller = MulticastGroup(Discovery().group, port, [ONE]), MulticastGroup(Discovery().group, port, [OTHER])

        async def listen() -> None:
            heard.append(await group.receive())
            nursery.cancel_scope.cancel()

        with trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(listen)
                await trio.testing.wait_all_tasks_blocked()
                group.move([])
                await trio.testing.wait_all_tasks_blocked()
                group.move([OTHER])
                await trio.testing.wait_all_tasks_blocked()
                await caller.send(b"hello")
        assert heard == [(b"hello", OTHER)]
        await group.aclose()
        await caller.aclose()

    trio.run(main)


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[socket.socket]:
    """Every socket by which a group has been joined."""
    sockets, join = list[socket.socket](), multicast._open

    def joined(group: str, port: int, address: str) -> socket.socket:
        sockets.append(join(group, port, address))
        return sockets[-1]

    monkeypatch.setattr(multicast, "_open", joined)
    return sockets


def test_a_group_is_joined_anew_where_the_address_stays(opened: list[socket.socket]) -> None:
    """It may be another interface's now."""

    async def main() -> None:
        group = MulticastGroup(Discovery().group, await free_port(), [ONE])
        group.move([ONE])
        assert len(opened) == 2
        await group.aclose()

    trio.run(main)


def test_whoever_is_about_to_wait_for_datagrams_is_not_confused_by_a_move(opened: list[socket.socket]) -> None:
    async def main() -> None:
        group = MulticastGroup(Discovery().group, await free_port(), [ONE])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(group.receive)
            for _ in range(50):  # at every moment of its waiting
                await trio.lowlevel.checkpoint()
                group.move([ONE])
            nursery.cancel_scope.cancel()
        await group.aclose()

    trio.run(main)


def test_a_group_that_is_closed_goes_nowhere(opened: list[socket.socket]) -> None:
    async def main() -> None:
        group = MulticastGroup(Discovery().group, await free_port(), [ONE])
        await group.aclose()
        group.move([OTHER])
        assert len(opened) == 1

    trio.run(main)
