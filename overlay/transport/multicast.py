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
        self._sockets: list[trio.socket.SocketType] = []
        self.refused: dict[str, str] = {}
        for address in addresses:
            try:
                self._sockets.append(trio.socket.from_stdlib_socket(_open(group, port, address)))
            except OSError as error:
                self.refused[address] = error.strerror or str(error)

    async def send(self, data: bytes) -> None:
        for member in self._sockets:
            try:
                await member.sendto(data, self._group)
            except OSError as error:
                self.refused[member.getsockname()[0]] = error.strerror or str(error)

    async def receive(self) -> tuple[bytes, str]:
        if not self._sockets:
            await trio.sleep_forever()
        member = self._sockets[0]
        if len(self._sockets) > 1:
            member = await self._first_readable()
        data, source = await member.recvfrom(BEACON_BYTES_MAX)
        return data, source[0]

    async def _first_readable(self) -> trio.socket.SocketType:
        readable: list[trio.socket.SocketType] = []

        async def watch(member: trio.socket.SocketType, scope: trio.CancelScope) -> None:
            await trio.lowlevel.wait_readable(member.fileno())
            readable.append(member)
            scope.cancel()

        async with trio.open_nursery() as nursery:
            for member in self._sockets:
                nursery.start_soon(watch, member, nursery.cancel_scope)
        return readable[0]

    async def aclose(self) -> None:
        for member in self._sockets:
            member.close()


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
