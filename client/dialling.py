"""Picking one of the user's nodes, connecting to its socket and greeting it."""

from __future__ import annotations

import os
import socket
import struct
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from ..overlay.errors import DeadlineExceeded, LinkLost, NoNode, NotAllowed, RemoteProtocolError, from_wire
from ..overlay.places import control_socket_path, node_names
from ..overlay.wire.control import CONTROL_VERSION, TO_NODE, TO_PROGRAM, Failure, Greeting, Welcome
from ..overlay.wire.framing import FrameDecoder
from .surroundings import Surroundings

GREETING_TIMEOUT_S: Final = 10.0
CONNECT_TIMEOUT_S: Final = 2.0
RECEIVE_BYTES: Final = 16 << 10

_PEER_CREDENTIALS: Final = struct.Struct("3i")


class Way(Protocol):
    """To a node: a Unix socket or, inside a task, a line through its pipe."""

    def sendall(self, data: bytes, /) -> None: ...

    def recv(self, bytes_max: int, /) -> bytes: ...

    def settimeout(self, seconds: float | None, /) -> None: ...

    def shutdown(self, how: int, /) -> None: ...

    def close(self) -> None: ...


class Link(NamedTuple):
    """A greeted connection. `frames` may already hold bytes that came after the welcome."""

    socket: Way
    frames: FrameDecoder
    welcome: Welcome


def connect(path: Path) -> socket.socket | None:
    """A connection to the node at `path`, or None where none listens. Raises NotAllowed if it is not this user's."""
    link = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    link.settimeout(CONNECT_TIMEOUT_S)
    try:
        link.connect(os.fspath(path))
    except OSError:
        link.close()
        return None
    _, owner = _process_and_user_at(link)
    if owner not in (os.getuid(), 0):
        link.close()
        raise NotAllowed(f"the node at {path} belongs to user {owner}")
    return link


def process_at(path: Path) -> int | None:
    """The descriptor of the process that listens there (`pidfd_open`), to be closed; None where none does. Raises
    NotAllowed if it is not this user's."""
    link = connect(path)
    if link is None:
        return None
    with link:
        process, _ = _process_and_user_at(link)
    try:
        return os.pidfd_open(process)
    except ProcessLookupError:
        return None


def _process_and_user_at(link: socket.socket) -> tuple[int, int]:
    credentials = link.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
    process, user, _ = _PEER_CREDENTIALS.unpack(credentials)
    return process, user


def running(surroundings: Surroundings) -> list[str]:
    """Names of the user's nodes that accept a connection, sorted."""
    names = []
    for name in node_names(surroundings.data_dir):
        if link := connect(control_socket_path(surroundings.runtime_dir, surroundings.data_dir, name)):
            link.close()
            names.append(name)
    return names


def dial(surroundings: Surroundings, wanted: str | None = None) -> socket.socket:
    """Connects to `wanted`, else the node the surroundings name, else the first by name that runs. Raises NoNode."""
    wanted = wanted or surroundings.node
    for name in [wanted] if wanted else node_names(surroundings.data_dir):
        if link := connect(control_socket_path(surroundings.runtime_dir, surroundings.data_dir, name)):
            return link
    if wanted:
        raise NoNode(f"no node named {wanted!r} is running here: start it with `potluck up --name {wanted}`")
    raise NoNode("no node is running here: start one with `potluck up`")


def greet(link: Way) -> Link:
    """Says hello and waits for the welcome. Closes the socket when it fails."""
    frames = TO_PROGRAM.frames()
    try:
        link.settimeout(GREETING_TIMEOUT_S)
        link.sendall(TO_NODE.encode(Greeting()))
        while (body := frames.next_body()) is None:
            chunk = link.recv(RECEIVE_BYTES)
            if not chunk:
                raise LinkLost("the node ended the connection before greeting")
            frames.feed(chunk)
        welcome = TO_PROGRAM.decode(body)
        if isinstance(welcome, Failure):
            raise from_wire(welcome.code, welcome.message)
        if not isinstance(welcome, Welcome) or welcome.version != CONTROL_VERSION:
            raise RemoteProtocolError("the node speaks another version: run the same potluck on both sides")
        link.settimeout(None)
    except TimeoutError:
        link.close()
        raise DeadlineExceeded(f"the node did not greet within {GREETING_TIMEOUT_S:g} s") from None
    except OSError as error:
        link.close()
        raise LinkLost(f"the node ended the connection: {error}") from error
    except BaseException:  # Ctrl+C too: nobody else knows of the socket yet
        link.close()
        raise
    return Link(link, frames, welcome)
