"""Bytes over a connected socket of the system: tried first, and waited for only where it has to be.

trio's own `SocketStream` lets others run before every call and asks before every wait. On the way of a message that is
most of what a hop costs.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import trio

from .. import parcels as beside
from ..errors import LinkLost
from ..outbox import end_turn
from ..parcels import Arrivals, Parcel

_RECEIVE_BYTES: Final = 16 << 10
_RECEIVE_LONG_BYTES: Final = 256 << 10
"""While the last read was full: large buffers cost more than small messages do."""
_FEW_BYTES: Final = 1 << 10
"""A message or two. What follows from them is sent as soon as they are read; what follows from many has gathered."""


class SocketStream:
    """Owns the socket. Whoever sends or waits is raised LinkLost that begins with `name`, once the other side is gone.

    One task receives; what has to be sent goes in the order of the calls, whoever makes them.
    With `takes_parcels`, for Unix sockets, descriptors are received, too.
    """

    def __init__(self, connected: socket.socket, name: str, *, takes_parcels: bool = False) -> None:
        connected.setblocking(False)
        self._socket = connected
        self._name = name
        self.takes_parcels = takes_parcels
        self._arrivals = Arrivals(connected)
        self._receive = self._arrivals.receive if takes_parcels else connected.recv
        self._unsent: deque[tuple[memoryview, Sequence[Parcel]]] = deque()
        self._flushing = trio.Lock()
        self._more_waits = False
        self._had_few = False

    @classmethod
    def of(cls, stream: trio.SocketStream, name: str, *, takes_parcels: bool = False) -> SocketStream:
        """Takes the socket over, with the options that trio has set on it."""
        return cls(socket.socket(fileno=stream.socket.detach()), name, takes_parcels=takes_parcels)

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        """Without waiting. False where some of it is left for `flush`; it may not be changed until then."""
        if self._unsent:
            self._unsent.append((memoryview(data), parcels))
            return False
        sent = self._send(data, parcels)
        if sent == len(data):
            return True
        self._unsent.append((memoryview(data)[sent:], () if sent else parcels))
        return False

    def _send(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel]) -> int:
        try:
            return beside.send(self._socket, data, parcels) if parcels else self._socket.send(data)
        except BlockingIOError:
            return 0
        except OSError as error:
            raise self._lost(error) from error

    async def flush(self) -> None:
        async with self._flushing:
            while self._unsent:
                await self._wait(trio.lowlevel.wait_writable)
                first, parcels = self._unsent[0]
                sent = self._send(first, parcels)
                if sent == len(first):
                    self._unsent.popleft()
                else:
                    self._unsent[0] = first[sent:], () if sent else parcels

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if self.send_now(data):
            await trio.lowlevel.checkpoint()
        else:
            await self.flush()

    async def receive_some(self) -> bytes:
        """b"" when the other side has closed. Whoever asks again is through with what came before."""
        while True:
            if self._more_waits:
                await trio.lowlevel.checkpoint()
            else:
                if self._had_few:
                    end_turn()
                await self._wait(trio.lowlevel.wait_readable)
            wanted = _RECEIVE_LONG_BYTES if self._more_waits else _RECEIVE_BYTES
            try:
                data = self._receive(wanted)
            except BlockingIOError:
                self._more_waits = False
                continue
            except OSError as error:
                raise self._lost(error) from error
            self._more_waits = len(data) == wanted
            self._had_few = len(data) <= _FEW_BYTES
            return data

    def receive_ready(self) -> bytes:
        """What has come and was not received yet, without waiting. b"" also once the other side is gone."""
        try:
            return self._receive(_RECEIVE_BYTES)
        except OSError:
            return b""

    def claim(self, size_bytes: int) -> Parcel:
        """The next that has come. Raises RemoteProtocolError where none has, or another one."""
        return self._arrivals.claim(size_bytes)

    async def _wait(self, ready: Callable[[socket.socket], Awaitable[None]]) -> None:
        if self.closed:
            raise LinkLost(self._name)
        try:
            await ready(self._socket)
        except trio.ClosedResourceError as error:
            raise LinkLost(self._name) from error

    def _lost(self, error: OSError) -> LinkLost:
        return LinkLost(f"{self._name}: {error.strerror}")

    @property
    def local_host(self) -> str:
        """Its address of this machine. Raises OSError where it is closed."""
        host: str = self._socket.getsockname()[0]
        return host

    @property
    def closed(self) -> bool:
        return self._socket.fileno() < 0

    def close(self) -> None:
        """At once; whoever waits here is told."""
        if not self.closed:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()
            self._arrivals.close()
