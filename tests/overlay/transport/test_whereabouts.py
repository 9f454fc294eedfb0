"""Where a machine is, as its kernel's news and its interfaces say, and what becomes of its connections."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import trio
import trio.testing
from potluck.overlay.errors import ConfigError, LinkLost
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport import tcp, whereabouts
from potluck.overlay.transport.interfaces import Choice
from potluck.overlay.transport.whereabouts import Whereabouts

from ...strategies.identities import member
from .members import network

ENOUGH_S = 600.0
"""Of virtual time."""


class Machine(NamedTuple):
    """One that has what a test puts here: interfaces by number, each with its address; or a fault."""

    interfaces: dict[int, str]
    faults: list[Exception]
    kernel: socket.socket

    def explain(self, interface: str | None) -> list[Choice]:
        del interface
        if self.faults:
            raise self.faults.pop(0)
        return [Choice(str(number), address, True, "") for number, address in self.interfaces.items()]

    def says(self) -> None:
        self.kernel.send(b"something has changed")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    kernel, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    ours.setblocking(False)
    made = Machine({2: "10.0.0.5"}, [], kernel)
    monkeypatch.setattr(whereabouts, "_listen", lambda: ours)
    monkeypatch.setattr(whereabouts, "_number_of", int)
    monkeypatch.setattr(whereabouts, "explain", made.explain)
    with kernel, ours:
        yield made


def run(machine: Machine, *changes: tuple[dict[int, str], list[Exception]]) -> list[tuple[str, ...]]:
    """What whoever waits for the next addresses is told while all this happens."""
    told: list[tuple[str, ...]] = []

    async def listen(there: Whereabouts) -> None:
        known = there.addresses
        while True:
            known = await there.other_than(known)
            told.append(tuple(known))

    async def main() -> None:
        there = Whereabouts(None)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen, there)
            nursery.start_soon(there.follow)
            await trio.testing.wait_all_tasks_blocked()
            for interfaces, faults in changes:
                machine.interfaces.clear()
                machine.interfaces.update(interfaces)
                machine.faults.extend(faults)
                machine.says()
                await trio.sleep(ENOUGH_S)
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
    return told


def test_what_is_as_before_is_no_change(machine: Machine) -> None:
    assert run(machine, ({2: "10.0.0.5"}, []), ({2: "10.0.0.5"}, [])) == []


def test_an_interface_in_the_place_of_another_is_a_change(machine: Machine) -> None:
    """It may have the same address, as where an adapter is pulled and put back: nothing is joined there yet."""
    assert run(machine, ({3: "10.0.0.5"}, [])) == [("10.0.0.5",)]


def test_a_network_that_was_away_is_a_change_when_it_is_back(machine: Machine) -> None:
    away = ConfigError("interface 'eth0': this machine has lo 127.0.0.1")
    assert run(machine, ({}, [away]), ({2: "10.0.0.5"}, [])) == [("10.0.0.5",)]


def test_a_machine_that_cannot_be_looked_at_now_is_looked_at_later(machine: Machine) -> None:
    lacking = OSError(errno.EMFILE, "Too many open files")
    assert run(machine, ({2: "10.0.0.6"}, [lacking])) == [("10.0.0.6",)]


def test_what_is_connected_over_an_address_that_is_gone_ends_once_there_is_another_network(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Not before: the address may come back, and with it the connection."""
    monkeypatch.setattr(whereabouts, "_SETTLE_S", 0.0)
    monkeypatch.setattr(whereabouts, "is_local", lambda address: address == "127.0.0.4")
    machine.interfaces[2] = "127.0.0.2"

    async def main() -> None:
        here, ended = network(tmp_path, member(1)), trio.Event()

        async def moves_to(address: str) -> None:
            known, machine.interfaces[2] = here.addresses, address
            machine.says()
            await here.moved(known)
            await trio.testing.wait_all_tasks_blocked()

        async def take(stream: Stream) -> None:
            with pytest.raises(LinkLost):
                await stream.receive_some()
            ended.set()

        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                address = await nursery.start(here.serve, take)
                stream = await network(tmp_path, member(2)).dial(address)
                await moves_to("127.0.0.4")
                assert not ended.is_set()
                await moves_to("127.0.0.3")
                await ended.wait()
                await stream.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)


def test_where_somebody_else_has_the_port_it_is_listened_on_as_soon_as_they_give_it_up(
    machine: Machine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(whereabouts, "_SETTLE_S", 0.0)
    monkeypatch.setattr(tcp, "_TRY_AGAIN_S", 0.05)
    machine.interfaces[2] = "127.0.0.2"

    async def main() -> None:
        here = network(tmp_path, member(1))
        known = here.addresses
        with trio.fail_after(10):
            async with trio.open_nursery() as nursery:
                address = await nursery.start(here.serve, lambda stream: stream.aclose())
                (other,) = await trio.open_tcp_listeners(address.port, host="127.0.0.3")
                machine.interfaces[2] = "127.0.0.3"
                machine.says()
                with trio.move_on_after(0.3) as taken:
                    await here.moved(known)
                assert taken.cancelled_caught
                await other.aclose()
                assert await here.moved(known) == ("127.0.0.3",)
                stream = await network(tmp_path, member(2)).dial(Address("127.0.0.3", address.port))
                await stream.aclose()
                nursery.cancel_scope.cancel()

    trio.run(main)
