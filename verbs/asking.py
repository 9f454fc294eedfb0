"""A verb's conversation with the node it talks to."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

from ..client.connection import Connection
from ..client.dialling import Link, dial, greet
from ..client.redialling import Redialler
from ..overlay.errors import DeadlineExceeded, PotluckError
from ..overlay.wire.codec import Message
from ..overlay.wire.control import AskStatus
from .answer import Session

ANSWER_TIMEOUT_S: Final = 30.0
RELOAD_TIMEOUT_S: Final = 20.0
LOOK_AGAIN_S: Final = 0.02


@contextmanager
def connected(session: Session, *, redials: bool = False) -> Iterator[Connection]:
    """Raises NoNode. Whatever is unfinished at the end is dropped by the node.

    `redials`: a node that is lost meanwhile is waited for, or another taken.
    """
    with talking(reach(session), Redialler(partial(reach, session)) if redials else None) as connection:
        yield connection


@contextmanager
def talking(link: Link, redialler: Redialler | None = None) -> Iterator[Connection]:
    connection = Connection(lambda: link, redialler=redialler)
    connection.start()
    try:
        yield connection
    finally:
        connection.close()


def reach(session: Session) -> Link:
    """Raises NoNode, LinkLost, DeadlineExceeded."""
    return greet(dial(session.surroundings, session.node))


def ask(connection: Connection, message: Callable[..., Message], *arguments: object) -> Any:
    """The answer's message. Raises what the node reports."""
    try:
        return connection.ask(message, *arguments).result(ANSWER_TIMEOUT_S)
    except TimeoutError:
        raise DeadlineExceeded(f"the node did not answer within {ANSWER_TIMEOUT_S:g} s") from None


def ask_json(connection: Connection, message: Callable[..., Message], *arguments: object) -> Any:
    return json.loads(ask(connection, message, *arguments).json)


def await_in_mesh(session: Session, name: str, mesh_id: str, since_s: float) -> None:
    """Waits until that node has begun again in this mesh. `since_s`: when it was told to, by `time.monotonic`."""
    while not _is_in(replace(session, node=name), mesh_id, since_s):
        if time.monotonic() > since_s + RELOAD_TIMEOUT_S:
            raise DeadlineExceeded(f"{name} has not come back in the new mesh after {RELOAD_TIMEOUT_S:g} s")
        time.sleep(LOOK_AGAIN_S)


def _is_in(session: Session, mesh_id: str, since_s: float) -> bool:
    try:
        with connected(session) as connection:
            status: dict[str, Any] = ask_json(connection, AskStatus)
    except PotluckError:
        return False  # between its two lives
    has_begun_again: bool = status["uptime_s"] < time.monotonic() - since_s
    return status["mesh"] == mesh_id and has_begun_again
