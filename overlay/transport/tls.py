"""TLS 1.3 on a trio socket, driven by hand through `ssl.MemoryBIO`.

Driving it by hand is twice to three times as fast as trio's SSLStream for bulk data, because one send carries up to
256 KiB of records and received bytes are decrypted in place.

Strangers who are invited knock: they ask for the server name `pairing`. Members of a root that the mesh has left do so
as `returning`. OpenSSL keeps asking for a client certificate of the same root when a context is exchanged in the middle
of a handshake, so the handshake begins anew with another context, the *door* of that name, and the bytes that have been
sent; nothing has been answered by then.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Container, Mapping, Sequence
from pathlib import Path
from typing import Final, cast

import trio

from ..errors import LinkLost, NotAllowed
from ..ports import Address
from .sockets import SocketStream

_RECORD_BYTES: Final = 16 << 10
_RECEIVE_BYTES_MAX: Final = 256 << 10
_PIECE_BYTES: Final = 128 << 10
"""Of much that comes at once: what stays in a processor's cache until it is taken."""
_SEND_BYTES: Final = 256 << 10
_HELLO_BYTES_MAX: Final = 64 << 10
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNKNOWN_PROTOCOL", "PACKET_LENGTH_TOO_LONG")
"""What OpenSSL calls bytes that are something else."""
KNOCK: Final = "pairing"
"""The server name by which a stranger asks to be let in."""
RETURN: Final = "returning"
"""… and a member of a former root what has become of it."""


class _Tls(ssl.SSLObject):
    """Remembers by what name its peer knocked."""

    knocked = ""


def make_context(*, server: bool, root_der: bytes, chain_path: Path, key_path: Path) -> ssl.SSLContext:
    """Mutual TLS 1.3: both sides must show a chain to `root_der`. Nothing else is trusted, no names are checked."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=root_der)
    context.load_cert_chain(chain_path, key_path)
    context.sslobject_class = _Tls
    if server:
        context.num_tickets = 0  # sessions are not resumed: every link proves itself anew
    return context


def make_door(*, chain_path: Path, key_path: Path, former_roots: Sequence[bytes] = ()) -> ssl.SSLContext:
    """For those who knock: they see our certificate, and show none or one that leads to a former root."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    for root_der in former_roots:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=root_der)
    context.load_cert_chain(chain_path, key_path)
    context.num_tickets = 0
    return context


def open_to_knocks(context: ssl.SSLContext, doors: Container[str]) -> None:
    """Has a server's handshakes notice who knocks at one of these doors."""

    def notice(tls: _Tls, name: str | None, _context: ssl.SSLContext) -> int | None:
        if name is None or name not in doors:
            return None
        tls.knocked = name
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME  # ends this handshake; the alert is never sent

    # typeshed wants an SSLSocket here; what comes is an object of the context's own class
    context.sni_callback = notice  # type: ignore[assignment]


def make_knocking() -> ssl.SSLContext:
    """Believes no certificate: what follows proves who is there, or what they say proves itself."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class TlsStream:
    """A `ports.Stream`. Use `authenticate` once before anything else."""

    def __init__(
        self,
        socket: SocketStream,
        context: ssl.SSLContext,
        *,
        server: bool,
        remote: Address,
        doors: Mapping[str, ssl.SSLContext] | None = None,
        server_name: str | None = None,
    ) -> None:
        self._socket = socket
        self._doors = doors
        self._hello = bytearray()
        self._wrap(context, server=server, server_name=server_name)
        self._sending = trio.Lock()
        self._remote = remote
        self._leaf_der = b""
        self.knocked = ""
        """The door it came through; whatever it has proved there, it is no member of this root."""

    def _wrap(self, context: ssl.SSLContext, *, server: bool, server_name: str | None = None) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=server, server_hostname=server_name)

    @property
    def leaf_der(self) -> bytes:
        return self._leaf_der

    @property
    def remote(self) -> Address:
        return self._remote

    async def authenticate(self) -> None:
        """Raises NotAllowed when the peer is not of this mesh, LinkLost when the connection breaks."""
        try:
            while not self._handshake_step():
                await self._answer()
                await self._feed()
            await self._answer()
        except ssl.SSLEOFError as error:
            raise LinkLost(f"{self._remote} closed the connection before it was known") from error
        except ssl.SSLError as error:
            if error.reason in _NO_TLS:
                raise NotAllowed(f"what answers at {self._remote} is no potluck node") from error
            raise NotAllowed(f"{self._remote} is not of this mesh: {error.reason or error}") from error
        self._leaf_der = self._tls.getpeercert(binary_form=True) or b""
        self._doors, self._hello = None, bytearray()
        assert self._leaf_der or self.knocked  # CERT_REQUIRED

    def _handshake_step(self) -> bool:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        except ssl.SSLError:
            name = getattr(self._tls, "knocked", "")
            door = self._doors.get(name) if self._doors else None
            if door is None:
                raise
            self._begin_anew(name, door)
            return self._handshake_step()
        return True

    def _begin_anew(self, name: str, door: ssl.SSLContext) -> None:
        """The peer's own bytes once more, this time for the door."""
        self.knocked, self._doors = name, None
        self._wrap(door, server=True)
        self._incoming.write(self._hello)

    async def _answer(self) -> None:
        """What the handshake has to say."""
        if data := self._outgoing.read():
            await self._socket.send_all(data)

    async def _feed(self) -> None:
        """One read from the socket into TLS."""
        if data := await self._socket.receive_some():
            if self._doors and len(self._hello) < _HELLO_BYTES_MAX:
                self._hello += data
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def send_now(self, data: bytes | bytearray | memoryview) -> bool:
        try:
            self._tls.write(data)
        except ssl.SSLError as error:
            raise self._broken(error) from error
        return self._socket.send_now(self._outgoing.read())

    async def flush(self) -> None:
        await self._socket.flush()

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        async with self._sending:
            view = memoryview(data)
            for start in range(0, len(view), _SEND_BYTES):
                if not self.send_now(view[start : start + _SEND_BYTES]):
                    await self.flush()

    async def receive_some(self) -> bytes:
        """As much as has come, up to a limit: TLS gives out one record at a time."""
        records: list[bytes] = []

        def open_next(size_bytes: int) -> int:
            records.append(self._tls.read(_RECORD_BYTES))
            return len(records[-1])

        await self._receive(open_next, _RECEIVE_BYTES_MAX)
        return records[0] if len(records) == 1 else b"".join(records)

    async def receive_all(self, take: Callable[[bytes], bool]) -> None:
        while (data := await self.receive_some()) and not take(data):
            pass

    async def receive_long(self, take: Callable[[memoryview], bool]) -> None:
        """Every record is opened where `take` finds it."""
        piece = memoryview(bytearray(_PIECE_BYTES))
        read = cast("Callable[[int, memoryview], int]", self._tls.read)

        def open_next(size_bytes: int) -> int:
            return read(_RECORD_BYTES, piece[size_bytes:])

        while (size_bytes := await self._receive(open_next, _PIECE_BYTES)) and not take(piece[:size_bytes]):
            pass

    async def _receive(self, open_next: Callable[[int], int], bytes_max: int) -> int:
        """The records that have come, at least one: how much is in them, 0 when the peer has closed. `open_next` opens
        one more, and is told how much there is before it."""
        while (size_bytes := self._opened(open_next, bytes_max)) is None:
            await self._feed()
        return size_bytes

    def _opened(self, open_next: Callable[[int], int], bytes_max: int) -> int | None:
        """None when less than a record has come."""
        incoming, size_bytes = self._incoming, 0
        try:
            while (incoming.pending or incoming.eof) and size_bytes + _RECORD_BYTES <= bytes_max:
                record_bytes = open_next(size_bytes)
                if not record_bytes:
                    return size_bytes
                size_bytes += record_bytes
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLEOFError:
            return size_bytes
        except ssl.SSLError as error:
            raise self._broken(error) from error
        return size_bytes or None

    def _broken(self, error: ssl.SSLError) -> LinkLost:
        return LinkLost(f"the connection to {self._remote} broke: {error.reason or error}")

    async def aclose(self) -> None:
        """Says goodbye if that takes no time, and closes."""
        if self._socket.closed:
            return
        try:
            self._tls.unwrap()
        except ssl.SSLError:
            pass  # the peer's own goodbye is not waited for, and a broken connection needs none
        with trio.move_on_after(0.5) as scope:
            scope.shield = True
            try:
                await self._answer()
            except LinkLost:
                pass  # it is closed either way
        self._socket.close()


async def knock(socket: SocketStream, remote: Address, context: ssl.SSLContext, server_name: str = KNOCK) -> TlsStream:
    """A channel to whoever is there; `leaf_der` is the certificate they show. Raises NotAllowed, LinkLost."""
    stream = TlsStream(socket, context, server=False, remote=remote, server_name=server_name)
    await stream.authenticate()
    return stream
