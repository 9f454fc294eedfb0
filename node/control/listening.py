"""The control socket itself. It lies in a folder of mode 0700 and is 0600; a peer of another uid is turned away all the
same."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path

import trio

from ...overlay.errors import ConfigError
from ...overlay.transport.sockets import SocketStream
from ..tenancy import taken
from .connection import Connection
from .rights import OfProgram
from .served import House, Served


async def serve_programs(node: Served, house: House, listener: trio.SocketListener, path: Path) -> None:
    """Accepts programs until cancelled; then the socket is gone."""

    async def admit(stream: trio.SocketStream) -> None:
        if _uid_of_peer(stream) == os.getuid():
            program = SocketStream.of(stream, "the program has gone", takes_parcels=True)
            try:
                await Connection(node, house, program, OfProgram()).run()
            finally:
                program.close()

    try:
        await trio.serve_listeners(admit, [listener])
    finally:
        path.unlink(missing_ok=True)


async def listen(path: Path, name: str) -> trio.SocketListener:
    """Takes the socket of this name. Raises NameInUse when a living node has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        probe = await trio.open_unix_socket(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)  # what a killed node left behind
    else:
        await trio.aclose_forcefully(probe)
        raise taken(name)
    server = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await server.bind(str(path))
    except OSError as error:
        server.close()
        raise ConfigError(f"{path.parent} cannot be used: {error.strerror or error}") from error
    path.chmod(0o600)
    server.listen(128)
    return trio.SocketListener(server)


def _uid_of_peer(stream: trio.SocketStream) -> int:
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid
