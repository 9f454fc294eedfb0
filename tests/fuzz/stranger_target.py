"""Whoever reaches a node's port: the first bytes of a connection, as TLS and the door behind it see them."""

from __future__ import annotations

import ssl
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

from potluck.overlay.errors import LinkLost, NotAllowed
from potluck.overlay.identity.certificates import to_pem
from potluck.overlay.ports import Address
from potluck.overlay.transport.tls import KNOCK, RETURN, TlsStream, make_context, make_door, open_to_knocks

from ..strategies.identities import member, mesh
from .target import Script, Target, piece, to_the_end

_ANSWER_BYTES_MAX = 16 << 10


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """With the files that TLS reads. Goes with the process."""
    folder = tempfile.TemporaryDirectory()
    (Path(folder.name) / "chain.pem").write_bytes(to_pem(member(1).chain))
    (Path(folder.name) / "key.pem").write_bytes(member(1).key.to_pem())
    return folder


@cache
def _contexts(is_open: bool) -> tuple[ssl.SSLContext, dict[str, ssl.SSLContext]]:
    """A node's server side and its doors, for guests and for members of a former root."""
    chain_path, key_path = (Path(_folder().name) / name for name in ("chain.pem", "key.pem"))
    server = make_context(server=True, root_der=member(1).mesh.root_der, chain_path=chain_path, key_path=key_path)
    doors: dict[str, ssl.SSLContext] = {}
    if is_open:
        doors[KNOCK] = make_door(chain_path=chain_path, key_path=key_path)
        doors[RETURN] = make_door(chain_path=chain_path, key_path=key_path, former_roots=[mesh(2).root_der])
    open_to_knocks(server, doors)
    return server, doors


class _Socket:
    """Says what the script wants, and hangs up."""

    def __init__(self, script: Script) -> None:
        self._script = script
        self.sent_bytes = 0

    async def send_all(self, data: bytes) -> None:
        self.sent_bytes += len(data)

    async def receive_some(self) -> bytes:
        return self._script.piece() if self._script.goes_on else b""


def _feed(data: bytes) -> None:
    """Nobody without a key of the mesh gets through, with or without an open door, nor much out of it."""
    script = Script(data)
    is_open = script.below(2) == 1
    server, doors = _contexts(is_open)
    socket: Any = _Socket(script)
    stream = TlsStream(socket, server, server=True, remote=Address("10.0.0.2", 1), doors=doors)
    try:
        to_the_end(stream.authenticate())
    finally:
        assert not stream.leaf_der
        assert socket.sent_bytes < _ANSWER_BYTES_MAX
    raise AssertionError("a stranger got in")


@cache
def _hellos() -> list[bytes]:
    """How clients begin; what they draw at random makes no difference here."""
    found = []
    for name, version in (
        (KNOCK, None),
        (RETURN, None),
        ("other", None),
        (None, None),
        (KNOCK, ssl.TLSVersion.TLSv1_2),
    ):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if version is not None:
            context.maximum_version = version
        outgoing = ssl.MemoryBIO()
        try:
            context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name).do_handshake()
        except ssl.SSLWantReadError:
            found.append(outgoing.read())
    return found


def _seeds() -> list[bytes]:
    whole = [bytes([is_open]) + piece(hello) for is_open in (0, 1) for hello in _hellos()]
    cut = [bytes([1]) + piece(hello[:40]) + piece(hello[40:]) + piece(hello) for hello in _hellos()]
    return [*whole, *cut, b"\1" + piece(b"GET / HTTP/1.1\r\n\r\n")]


TARGETS: dict[str, Target] = {"stranger": Target(_feed, (NotAllowed, LinkLost), _seeds, cost=10)}
