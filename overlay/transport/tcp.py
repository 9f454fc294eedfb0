"""`ports.Network` for the real world: TLS over TCP, beacon over UDP multicast."""

from __future__ import annotations

import errno
import math
import os
import ssl
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from socket import gaierror
from typing import Final
from weakref import WeakSet

import msgspec
import trio

from ..config import Config
from ..config import Links as LinksConfig
from ..errors import ConfigError, DeadlineExceeded, LinkLost, NotAllowed
from ..identity.certificates import to_pem
from ..ports import Address, StreamHandler
from ..threads import is_lacking
from .listening import Listeners, Listening, open_listeners
from .multicast import MulticastGroup
from .sockets import SocketStream
from .tls import KNOCK, RETURN, TlsStream, knock, make_context, make_door, make_knocking, open_to_knocks
from .whereabouts import Whereabouts

DEFAULT_PORT: Final = 9000
_PORTS_TRIED: Final = 1000
_TRY_AGAIN_S: Final = 5.0
"""To listen where somebody else has the port."""


class TlsFiles(msgspec.Struct, frozen=True):
    root_der: bytes
    chain_path: Path
    key_path: Path


class TcpNetwork:
    """One node's real network."""

    def __init__(self, config: Config, files: TlsFiles) -> None:
        self._config = config
        self._links = config.links
        self._whereabouts = Whereabouts(config.interface)
        self.addresses = self._whereabouts.addresses
        self._moved = trio.lowlevel.ParkingLot()
        self._groups: WeakSet[MulticastGroup] = WeakSet()
        self._connected: WeakSet[SocketStream] = WeakSet()
        self._server = make_context(
            server=True, root_der=files.root_der, chain_path=files.chain_path, key_path=files.key_path
        )
        self._client = make_context(
            server=False, root_der=files.root_der, chain_path=files.chain_path, key_path=files.key_path
        )
        self._files = files
        self._doors: dict[str, ssl.SSLContext] = {}
        self._door_handlers: dict[str, StreamHandler] = {}
        open_to_knocks(self._server, self._doors)
        self._pending: dict[int, trio.CancelScope] = {}
        self._accepted = 0

    def admit_strangers(self, handler: StreamHandler | None) -> None:
        """While there is a handler, it is given the streams of those who knock; they have proved nothing."""
        if handler is None:
            self._doors.pop(KNOCK, None)
        else:
            self._open_door(KNOCK, handler)

    def admit_returning(self, handler: StreamHandler, former_roots: Sequence[bytes]) -> None:
        """It is given the streams of those who have proved a leaf under one of these roots."""
        self._open_door(RETURN, handler, former_roots)

    def _open_door(self, name: str, handler: StreamHandler, former_roots: Sequence[bytes] = ()) -> None:
        files = self._files
        self._door_handlers[name] = handler
        self._doors[name] = make_door(chain_path=files.chain_path, key_path=files.key_path, former_roots=former_roots)

    async def serve(
        self, handler: StreamHandler, *, task_status: trio.TaskStatus[Address] = trio.TASK_STATUS_IGNORED
    ) -> None:
        opened, port = await self._listen()

        async def admit(accepted: trio.SocketStream) -> None:
            try:
                remote = Address(*accepted.socket.getpeername()[:2])
            except OSError:  # reset before anyone looked at it, as port scanners do
                return
            socket = SocketStream.of(accepted, _to(remote))
            self._connected.add(socket)
            try:
                stream = await self._authenticate(socket, remote)
                if stream is not None:
                    await self._receive(stream, handler)
            finally:
                socket.close()

        async with trio.open_nursery() as nursery:
            listening = Listening(port, admit, nursery)
            listening.begin(opened)
            nursery.start_soon(self._whereabouts.follow)
            task_status.started(Address(self.addresses[0], port))
            await self._follow(listening)

    async def _follow(self, listening: Listening) -> None:
        """Moves to where the machine is; whoever has the port there may give it up later."""
        known = self.addresses
        while True:
            with trio.move_on_after(math.inf if listening.has_all(known) else _TRY_AGAIN_S) as in_vain:
                known = await self._whereabouts.other_than(known)
                for group in self._groups:
                    group.move(known)
            there = await listening.move(known)
            if not in_vain.cancelled_caught or there != self.addresses:
                self.addresses = there or self.addresses
                self._leave_behind()
                self._moved.unpark_all()

    def _leave_behind(self) -> None:
        """While the network is away connections stay: it may come back as it was. Once there is another, nothing more
        comes over an address that is gone, and nobody would say so."""
        for one in [one for one in self._connected if not one.closed]:
            if self._whereabouts.is_gone(one.local_host):
                one.close()

    async def moved(self, known: Sequence[str]) -> Sequence[str]:
        while self.addresses is known:
            await self._moved.park()
        return self.addresses

    async def _receive(self, stream: TlsStream, handler: StreamHandler) -> None:
        if not stream.knocked:
            await handler(stream)
        elif stream.knocked in self._doors:  # else closed meanwhile
            await self._door_handlers[stream.knocked](stream)

    async def _listen(self) -> tuple[Listeners, int]:
        """On the wanted port of every address, or on the first port that is free on all of them, the former first."""
        wanted, former = self._config.port, self._config.former_port
        if wanted in (None, 0) and former:
            with suppress(OSError):
                return await open_listeners(self.addresses, former), former
        first = wanted or DEFAULT_PORT
        for port in range(first, min(first + (1 if wanted else _PORTS_TRIED), 65_536)):
            try:
                return await open_listeners(self.addresses, port), port
            except OSError as error:
                if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                    raise ConfigError(f"cannot listen on {self.addresses[0]}:{port}: {error.strerror}") from error
        raise ConfigError(f"port {first} is taken or not allowed: choose another with --port, or leave it out")

    async def _authenticate(self, socket: SocketStream, remote: Address) -> TlsStream | None:
        """None for whoever cannot prove membership in time.

        Strangers can hold at most `pending_max` connections open, each for `handshake_timeout_s`; when one more
        comes, the oldest goes. Nothing is read from them but the TLS handshake.
        """
        self._accepted += 1
        number = self._accepted
        if len(self._pending) >= self._links.pending_max:
            self._pending.pop(next(iter(self._pending))).cancel()
        stream = TlsStream(socket, self._server, server=True, remote=remote, doors=dict(self._doors))
        with trio.move_on_after(self._links.handshake_timeout_s) as scope:
            self._pending[number] = scope
            try:
                await stream.authenticate()
                return stream
            except (NotAllowed, LinkLost):
                pass  # whoever it was is told nothing
            finally:
                self._pending.pop(number, None)
        return None

    async def dial(self, address: Address) -> TlsStream:
        socket = await _connect(address, self._links)
        self._connected.add(socket)
        stream = TlsStream(socket, self._client, server=False, remote=address)
        try:
            with trio.fail_after(self._links.handshake_timeout_s):
                await stream.authenticate()
        except BaseException as error:
            socket.close()
            if isinstance(error, trio.TooSlowError):
                raise DeadlineExceeded(f"{address} did not finish the handshake") from error
            raise
        return stream

    async def dial_returning(self, address: Address, chain: Sequence[bytes]) -> TlsStream:
        """To the door for members of a former root, with the chain that this node had below it.

        Raises LinkLost, DeadlineExceeded, NotAllowed.
        """
        context = make_knocking()
        with tempfile.NamedTemporaryFile(dir=self._files.chain_path.parent) as pem:  # ssl reads chains from files only
            pem.write(to_pem(chain))
            pem.flush()
            context.load_cert_chain(pem.name, self._files.key_path)
        return await _knock(address, self._links, context, RETURN)

    async def open_multicast(self) -> MulticastGroup:
        group = MulticastGroup(self._config.discovery.group, self._config.discovery.port, self._whereabouts.addresses)
        self._groups.add(group)
        return group


async def dial_door(address: Address, links: LinksConfig) -> TlsStream:
    """As a stranger to whoever listens there. Raises LinkLost, DeadlineExceeded, NotAllowed."""
    return await _knock(address, links, make_knocking(), KNOCK)


async def _knock(address: Address, links: LinksConfig, context: ssl.SSLContext, door: str) -> TlsStream:
    socket = await _connect(address, links)
    try:
        with trio.fail_after(links.handshake_timeout_s):
            return await knock(socket, address, context, door)
    except BaseException as error:
        socket.close()
        if isinstance(error, trio.TooSlowError):
            raise DeadlineExceeded(f"{address} did not finish the handshake") from error
        raise


async def _connect(address: Address, links: LinksConfig) -> SocketStream:
    try:
        with trio.fail_after(links.dial_timeout_s):
            socket = trio.socket.socket()
            try:
                await socket.connect((address.host, address.port))
            except BaseException:
                socket.close()
                raise
    except trio.TooSlowError as error:
        raise DeadlineExceeded(f"{address} does not answer") from error
    except RuntimeError as error:
        if not is_lacking(error):
            raise
        raise LinkLost(f"cannot connect to {address}: there is no thread to look its name up in") from error
    except ValueError as error:  # other members' hearsay may name hosts that no resolver takes
        raise LinkLost(f"cannot connect to {address}: {error}") from error
    except OSError as error:
        refused = error.errno == errno.ECONNREFUSED
        named = error.errno and not isinstance(error, gaierror)  # whose numbers are others
        why = os.strerror(error.errno or 0) if named else error.strerror or str(error)
        raise LinkLost(f"cannot connect to {address}: {why}", refused=refused) from error
    return SocketStream.of(trio.SocketStream(socket), _to(address))


def _to(remote: Address) -> str:
    return f"the connection to {remote} broke"
