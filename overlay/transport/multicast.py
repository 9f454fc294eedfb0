"""UDP multicast on chosen interfaces only: `ports.Datagrams`."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Final

import trio

from ..wire.beacon import BEACON_BYTES_MAX

_IP_MULTICAST_ALL: Final = 49  # linux/in.h: 0 = only groups joined by this very socket
_TTL: Final = 1


class MulticastGroup:
    """One socket per interface, so that every datagram leaves and arrives on an interface that was asked for.

    An interface without multicast is left out; with none left, sending and receiving are silent.
    """

    def __init__(self, group: str, port: int, addresses: Sequence[str]) -> None:
        self._group = (group, port)
        self._sockets: dict[str, trio.socket.SocketType] = {}
        self._moved = trio.lowlevel.ParkingLot()
        self._closed = False
        self.refused: dict[str, str] = {}
        self.move(addresses)

    def move(self, addresses: Sequence[str]) -> None:
        """To the interfaces with these addresses, in place of those before. An address that stays may be another
        interface's now, where nothing has been joined yet."""
        if self._closed:
            return
        for member in self._sockets.values():
            member.close()
        self._sockets, self.refused = {}, {}
        for address in addresses:
            try:
                self._sockets[address] = trio.socket.from_stdlib_socket(_open(*self._group, address))
            except OSError as error:
                self.refused[address] = error.strerror or str(error)
        self._moved.unpark_all()

    async def send(self, data: bytes) -> None:
        for address, member in list(self._sockets.items()):
            try:
                await member.sendto(data, self._group)
            except trio.ClosedResourceError:
                pass  # moved away from there meanwhile
            except OSError as error:
                self.refused[address] = error.strerror or str(error)

    async def receive(self) -> tuple[bytes, str]:
        while True:
            member = await self._first_readable()
            if member is None or _is_closed(member):
                continue  # moved away from there meanwhile
            try:
                data, source = await member.recvfrom(BEACON_BYTES_MAX)
            except trio.ClosedResourceError:
                continue
            return data, source[0]

    async def _first_readable(self) -> trio.socket.SocketType | None:
        """None where the interfaces have changed."""
        readable: list[trio.socket.SocketType] = []

        async def watch(member: trio.socket.SocketType, scope: trio.CancelScope) -> None:
            if not _is_closed(member):  # it begins a turn after it was told to
                try:
                    await trio.lowlevel.wait_readable(member.fileno())
                except trio.ClosedResourceError:
                    pass
                else:
                    readable.append(member)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for member in self._sockets.values():
                nursery.start_soon(watch, member, nursery.cancel_scope)
            await self._moved.park()
            nursery.cancel_scope.cancel()
        return readable[-1] if readable else None

    async def aclose(self) -> None:
        """For good: it does not move any more."""
        self.move([])
        self._closed = True


def _is_closed(member: trio.socket.SocketType) -> bool:
    return member.fileno() < 0


def _open(group: str, port: int, address: str) -> socket.socket:
    member = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        member.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        member.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, _TTL)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_LOOP, 1)
        interface = socket.inet_aton(address)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
        member.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(group) + interface)
        member.setblocking(False)
        member.bind((group, port))
    except OSError:
        member.close()
        raise
    return member
