"""`potluck mem set | get | del | incr`."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, Final

import click

from ..client.memory import checked_amount, checked_key, encoded
from ..overlay.errors import UsageError
from ..overlay.wire import values
from ..overlay.wire.control import MemoryDelete, MemoryGet, MemoryIncrement, MemorySet
from .answer import Answer, Session, verb
from .asking import ask, ask_json, connected
from .reading import json_of
from .rendering import jsonable

NEGATIVE: Final = re.compile(r"-\.?[0-9]")


class _TakesNumbers(click.Command):
    """`-5` is a number here, not an option; whatever else looks like an option still has to be one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(NEGATIVE.match(argument) for argument in args)
        return super().parse_args(ctx, args)


@verb("set", summary="Store a value under a key.", cls=_TakesNumbers)
@click.argument("key")
@click.argument("value", required=False)
@click.option("--ttl", type=click.FloatRange(min=0, min_open=True), metavar="S", help="Forget it after this time.")
@click.option(
    "--bytes-from", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Store a file's bytes."
)
@click.option(
    "--if-version",
    type=click.IntRange(0, (1 << 63) - 1),
    metavar="V",
    help="Only if the key has this version now; 0: only if it has no value. Makes the key agreed for ever.",
)
def _set(
    session: Session, key: str, value: str | None, ttl: float | None, bytes_from: Path | None, if_version: int | None
) -> Answer:
    """Store VALUE under KEY: JSON if it parses, else text."""
    if (value is None) == (bytes_from is None):
        raise UsageError("give either a VALUE or --bytes-from FILE")
    data: object = bytes_from.read_bytes() if bytes_from is not None else _parsed(value or "")
    with connected(session) as connection:
        answer: dict[str, Any] = ask_json(connection, MemorySet, checked_key(key), encoded(data), ttl, if_version)
    return Answer(answer, notes=f"{key} is kept by {answer['replicas']} node(s)")


@verb("get", summary="Show the value of a key.")
@click.argument("key")
def _get(session: Session, key: str) -> Answer:
    """Show the value under KEY."""
    with connected(session) as connection:
        answer = ask(connection, MemoryGet, checked_key(key))
    value = values.decode_bytes(answer.value)
    shown = value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)
    return Answer({"key": key, "value": jsonable(value), "version": answer.version}, shown or "\n")


@verb("del", summary="Forget a key.")
@click.argument("key")
def _del(session: Session, key: str) -> Answer:
    """Forget what is stored under KEY."""
    with connected(session) as connection:
        answer: dict[str, Any] = ask_json(connection, MemoryDelete, checked_key(key))
    return Answer(answer, notes=f"{key} is forgotten")


@verb("incr", summary="Add to the number under a key.", cls=_TakesNumbers)
@click.argument("key")
@click.argument("n", type=int, required=False, default=1)
def _incr(session: Session, key: str, n: int) -> Answer:
    """Add N (1 if not given) to the integer under KEY, and show the sum. Makes the key agreed for ever."""
    with connected(session) as connection:
        answer: dict[str, Any] = ask_json(connection, MemoryIncrement, checked_key(key), checked_amount(n))
    return Answer(answer, str(answer["value"]))


def _parsed(text: str) -> object:
    try:
        return json_of(text)
    except ValueError:
        return text


command = click.Group(
    "mem",
    commands=[_set, _get, _del, _incr],
    help="Use the memory that all nodes of the mesh share.",
    no_args_is_help=False,
    short_help="Use the mesh's memory: set, get, del, incr.",
)
