"""`potluck mem set | get | del | incr`."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any, BinaryIO, Final

import click

from ..client.memory import checked_amount, checked_key, encoded
from ..client.options import span_s
from ..overlay.errors import LimitExceeded, UsageError
from ..overlay.wire import values
from ..overlay.wire.control import MemoryDelete, MemoryGet, MemoryIncrement, MemorySet
from ..overlay.wire.framing import VALUE_BYTES_MAX
from .answer import Answer, Session, verb
from .asking import ask, ask_json, connected
from .reading import Counts, Numbers, json_of
from .rendering import jsonable

_FILE: Final = click.File("rb")
NEGATIVE: Final = re.compile(r"-\.?[0-9]")


class _TakesNumbers(click.Command):
    """`-5` is a number here, not an option; whatever else looks like an option still has to be one."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.ignore_unknown_options = any(NEGATIVE.match(argument) for argument in args)
        return super().parse_args(ctx, args)


@verb("set", summary="Store a value under a key.", cls=_TakesNumbers)
@click.argument("key")
@click.argument("value", required=False)
@click.option("--ttl", type=Numbers(min=0, min_open=True), metavar="S", help="Forget it after this time.")
@click.option("--value-from", type=_FILE, metavar="FILE", help="Take VALUE from a file; `-`: from standard input.")
@click.option("--bytes-from", type=_FILE, metavar="FILE", help="Store a file's bytes; `-`: those of standard input.")
@click.option(
    "--if-version",
    type=Counts(0, (1 << 63) - 1),
    metavar="V",
    help="Only if the key has this version now; 0: only if it has no value. Makes the key agreed for ever.",
)
def _set(
    session: Session,
    key: str,
    value: str | None,
    ttl: float | None,
    value_from: BinaryIO | None,
    bytes_from: BinaryIO | None,
    if_version: int | None,
) -> Answer:
    """Store VALUE under KEY: JSON if it parses, else text."""
    data = _given(value, value_from, bytes_from)
    ttl_s = None if ttl is None else span_s("ttl", ttl)
    with connected(session) as connection:
        answer: dict[str, Any] = ask_json(connection, MemorySet, checked_key(key), encoded(data), ttl_s, if_version)
    return Answer(answer, notes=f"{key} is kept by {answer['replicas']} node(s)")


def _given(value: str | None, value_from: BinaryIO | None, bytes_from: BinaryIO | None) -> object:
    """Raises UsageError unless it was given in one way."""
    match value, value_from, bytes_from:
        case str(), None, None:
            return _parsed(value)
        case None, file, None if file is not None:
            try:
                return _parsed(_all_of(file).decode())
            except UnicodeDecodeError:
                raise UsageError(f"{file.name} holds no text: --bytes-from takes its bytes") from None
        case None, None, file if file is not None:
            return _all_of(file)
    raise UsageError("give either a VALUE, --value-from FILE or --bytes-from FILE")


def _all_of(file: BinaryIO) -> bytes:
    """Raises LimitExceeded for more than a key holds, without reading it."""
    data = file.read(VALUE_BYTES_MAX + 1)
    if len(data) > VALUE_BYTES_MAX:
        raise LimitExceeded(f"{file.name} is too long: a key holds at most {VALUE_BYTES_MAX} bytes")
    return data


@verb("get", summary="Show the value of a key.")
@click.argument("key")
@click.option("--raw", is_flag=True, help="Only the value: bytes and text as they are, anything else as JSON.")
@click.option("--output", type=click.Path(path_type=Path), metavar="FILE", help="Write that into a file.")
def _get(session: Session, key: str, raw: bool, output: Path | None) -> Answer:
    """Show the value under KEY. Bytes are shown in base64, unless they are wanted --raw."""
    if raw and session.as_json:
        raise UsageError("JSON holds no raw bytes: leave out --raw or --json")
    with connected(session) as connection:
        answer = ask(connection, MemoryGet, checked_key(key))
    value = values.decode_bytes(answer.value)
    found = {"key": key, "value": jsonable(value), "version": answer.version, "type": type(value).__name__}
    if output is not None:
        output.write_bytes(_raw(value))
        return Answer(found, notes=f"{output} holds {key}: {_kind(value)}")
    if raw:
        sys.stdout.buffer.write(_raw(value))
        sys.stdout.buffer.flush()
        return Answer(found, told=True)
    return Answer(found, _shown(value) or "\n", notes="" if _says_itself(value) else _kind(value))


def _raw(value: object) -> bytes:
    return bytes(value) if isinstance(value, bytes | bytearray) else _shown(value).encode()


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(jsonable(value), ensure_ascii=False)


def _says_itself(value: object) -> bool:
    """Whether what is shown has no other reading."""
    if isinstance(value, str):
        return _parsed(value) == value
    return value is None or isinstance(value, bool | int | float | list | dict)


def _kind(value: object) -> str:
    if isinstance(value, str):
        return "text, though it reads like something else"
    if isinstance(value, bytes | bytearray):
        return f"{len(value)} bytes, which --raw or --output FILE give as they are"
    return f"of type {type(value).__name__}"


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
