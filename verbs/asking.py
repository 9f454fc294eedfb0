"""A verb's conversation with the node it talks to."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

from ..client.connection import Connection
from ..client.dialling import dial, greet
from ..overlay.errors import DeadlineExceeded
from ..overlay.wire.codec import Message
from .answer import Session

ANSWER_TIMEOUT_S: Final = 30.0


@contextmanager
def connected(session: Session) -> Iterator[Connection]:
    """Raises NoNode. Whatever is unfinished at the end is dropped by the node."""
    link = greet(dial(session.surroundings, session.node))
    connection = Connection(lambda: link)
    connection.start()
    try:
        yield connection
    finally:
        connection.close()


def ask(connection: Connection, message: Callable[..., Message], *arguments: object) -> Any:
    """The answer's message. Raises what the node reports."""
    try:
        return connection.ask(message, *arguments).result(ANSWER_TIMEOUT_S)
    except TimeoutError:
        raise DeadlineExceeded(f"the node did not answer within {ANSWER_TIMEOUT_S:g} s") from None


def ask_json(connection: Connection, message: Callable[..., Message], *arguments: object) -> Any:
    return json.loads(ask(connection, message, *arguments).json)
