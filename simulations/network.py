"""`ports.Network` on the ether: streams, refusals, time-outs and multicast in virtual time.

Authentication is by construction, without cryptography: a stream bears the certificate of the identity behind its
other end, and an identity of another mesh is refused as TLS would refuse it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

import trio

from ..overlay.config import Config
from ..overlay.errors import ConfigError, DeadlineExceeded, LinkLost, NotAllowed
from ..overlay.identity.mesh import Identity
from ..overlay.ports import Address, Stream, StreamHandler
from .ether import Ether, Host, Listener
from .pipe import Pipe

_PORT_DEFAULT: Final = 9000
_PORT_MAX: Final = 65_535
_PORT_EPHEMERAL: Final = 32_768
_PIECE_BYTES: Final = 64 << 10
_DATAGRAMS_MAX: Final = 512
"""Waiting for one receiver; more are dropped, as a system drops them."""


class VirtualStream:
    """One end of a stream: a `ports.Stream`."""

    def __init__(self, host: Host, number: int, pipes: tuple[Pipe, Pipe], leaf_der: bytes, remote: Address) -> None:
        self._host = host
        self._number = number
        self._outgoing, self._incoming = pipes
        self._leaf_der = leaf_der
        self._remote = remote
        self._closed = False
        self._unsent: deque[bytes] = deque()
        self._flushing = trio.Lock()
        host.endpoints[number] = self

    @property
    def leaf_der(self) -> bytes:
        return self._leaf_der

    @property
    def remote(self) -> Address:
        return self._remote

    def send_now(self, data: bytes | bytearray | memoryview) -> bool:
        self._check()
        if self._host.mouth is not None:
            data = self._host.mouth(bytes(data))
        if len(data) <= _PIECE_BYTES and self._outgoing.has_room and not self._unsent:
            self._put(bytes(data))
            return True
        view = memoryview(data)
        self._unsent += [bytes(view[start : start + _PIECE_BYTES]) for start in range(0, len(view), _PIECE_BYTES)]
        return False

    async def flush(self) -> None:
        async with self._flushing:
            while self._unsent:
                while not self._outgoing.has_room:
                    await self._outgoing.wait_room()
                    self._check()
                self._put(self._unsent.popleft())

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Lets others run only where it waits, as `receive_some`: a simulation spends its time on switching tasks."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self.send_now(data):
            await self.flush()

    def _put(self, piece: bytes) -> None:
        late_s = self._outgoing.late_s()
        if late_s == math.inf:
            self.break_off()
            raise LinkLost(f"the connection to {self._remote} broke")
        self._outgoing.put(piece, late_s)

    def _check(self) -> None:
        if self._closed or self._incoming.end_arrived:
            raise LinkLost(f"the connection to {self._remote} broke")

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint_if_cancelled()
        while (data := self._arrived()) is None:
            await self._incoming.wait_arrival()
        return data

    async def receive_all(self, take: Callable[[bytes], bool]) -> None:
        """Hands over in the step of the clock in which it arrives: no task wakes up for it."""

        def hand_over() -> bool:
            while (data := self._arrived()) is not None:
                if not data or take(data):
                    return True
            return False

        await trio.lowlevel.checkpoint_if_cancelled()
        if not hand_over():
            await self._incoming.each_arrival(hand_over)

    async def receive_long(self, take: Callable[[memoryview], bool]) -> None:
        await self.receive_all(lambda data: take(memoryview(data)))

    def _arrived(self) -> bytes | None:
        """None: nothing yet."""
        if self._closed:
            raise LinkLost(f"the connection to {self._remote} broke")
        if data := self._incoming.take():
            return data
        if not self._incoming.end_arrived:
            return None
        if self._incoming.was_reset:
            raise LinkLost(f"the connection to {self._remote} broke")
        return b""

    async def aclose(self) -> None:
        if not self._closed:
            self.cut()
            self._outgoing.end(self._incoming, reset=False)
            self._host.endpoints.pop(self._number, None)
        await trio.lowlevel.checkpoint()

    def wake(self) -> None:
        self._outgoing.wake()
        self._incoming.wake()

    def cut(self) -> None:
        self._closed = True
        self.wake()

    def lose(self) -> None:
        self._outgoing.drop()

    def reset(self) -> None:
        self._outgoing.end(self._incoming, reset=True)

    def break_off(self) -> None:
        for pipe, back in ((self._outgoing, self._incoming), (self._incoming, self._outgoing)):
            pipe.drop()
            pipe.end(back, reset=True)


class VirtualDatagrams:
    """A member of a multicast group: a `ports.Datagrams`."""

    def __init__(self, ether: Ether, host: Host, group: tuple[str, int]) -> None:
        self._ether = ether
        self._host = host
        self._group = group
        self._number = ether.next_number()
        self._arrivals_in, self._arrivals = trio.open_memory_channel[tuple[bytes, str]](_DATAGRAMS_MAX)
        host.mailboxes[self._number] = (group, self)

    async def send(self, data: bytes) -> None:
        if self._number in self._host.mailboxes:
            self._ether.multicast(self._host.address, self._group, data)
        await trio.lowlevel.checkpoint_if_cancelled()

    def put(self, data: bytes, source: str) -> None:
        try:
            self._arrivals_in.send_nowait((data, source))
        except trio.WouldBlock:
            pass  # dropped, as a system drops them

    async def receive(self) -> tuple[bytes, str]:
        return await self._arrivals.receive()

    async def aclose(self) -> None:
        self._host.mailboxes.pop(self._number, None)
        await trio.lowlevel.checkpoint()


class VirtualNetwork:
    """The ether as one node sees it, from the machine at `host_address`."""

    def __init__(self, ether: Ether, host_address: str, config: Config, identity: Identity) -> None:
        self._ether = ether
        self._host = ether.host(host_address)
        self._config = config
        self._identity = identity

    @property
    def addresses(self) -> Sequence[str]:
        return self._host.addresses

    async def moved(self, known: Sequence[str]) -> Sequence[str]:
        while self.addresses is known:
            await self._host.moved.park()
        return self.addresses

    async def serve(
        self, handler: StreamHandler, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        port = self._free_port()
        async with trio.open_nursery() as nursery:
            listener = Listener(self._identity, lambda stream: nursery.start_soon(_handle, handler, stream))
            self._host.listeners[port] = listener
            try:
                task_status.started(Address(self._host.address, port))
                await trio.sleep_forever()
            finally:
                if self._host.listeners.get(port) is listener:
                    del self._host.listeners[port]

    def _free_port(self) -> int:
        wanted = self._config.port
        first = wanted or _PORT_DEFAULT
        for port in range(first, (first if wanted else _PORT_MAX) + 1):
            if port not in self._host.listeners:
                return port
        raise ConfigError(f"port {first} is taken or not allowed: choose another with --port, or leave it out")

    async def dial(self, address: Address) -> VirtualStream:
        with trio.move_on_after(self._config.links.dial_timeout_s):
            await self._round_trip(address)
            if address.port not in self._ether.host(address.host).listeners:
                raise LinkLost(f"cannot connect to {address}: Connection refused", refused=True)
            await self._round_trip(address)  # as TLS 1.3 takes
            listener = self._ether.host(address.host).listeners.get(address.port)
            if listener is None:
                raise LinkLost(f"the connection to {address} broke")
            if listener.identity.mesh.root_der != self._identity.mesh.root_der:
                raise NotAllowed(f"{address} is not of this mesh")
            return self._open(address, listener)
        raise DeadlineExceeded(f"{address} does not answer")

    async def _round_trip(self, address: Address) -> None:
        """There and back; never, once the two are cut off from each other: the caller's time runs out."""
        here, there = self._host.address, address.host
        for source, target in ((here, there), (there, here)):
            if not self._ether.connected(source, target):
                await trio.sleep_forever()
            await trio.sleep(self._ether.delay_s(source, target))

    def _open(self, address: Address, listener: Listener) -> VirtualStream:
        """Both ends. The other node's end reaches its handler as soon as this one is known here."""
        number = self._ether.next_number()
        there = self._ether.host(address.host)
        out, back = (Pipe(self._ether, *way) for way in (self._way(there), self._way(there)[::-1]))
        mine = VirtualStream(self._host, number, (out, back), listener.identity.chain[0], address)
        remote = Address(self._host.address, _PORT_EPHEMERAL + number % _PORT_EPHEMERAL)
        other_number = self._ether.next_number()
        theirs = VirtualStream(there, other_number, (back, out), self._identity.chain[0], remote)
        listener.accept(theirs)
        return mine

    def _way(self, there: Host) -> tuple[str, str]:
        return self._host.address, there.address

    async def open_multicast(self) -> VirtualDatagrams:
        await trio.lowlevel.checkpoint()
        group = (self._config.discovery.group, self._config.discovery.port)
        return VirtualDatagrams(self._ether, self._host, group)


async def _handle(handler: StreamHandler, stream: Stream) -> None:
    """A stream ends with its handler, as trio's listeners do it."""
    try:
        await handler(stream)
    finally:
        with trio.CancelScope(shield=True):
            await stream.aclose()
