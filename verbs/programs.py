"""The programs that `run` and `map` are given, refused here when it can be seen here that they cannot run."""

from __future__ import annotations

import symtable
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from ..client.modules import Modules
from ..client.programs import Body, bodies_of
from ..overlay.errors import BadProgram, UsageError
from .reading import json_of

COMMAND_LINE: Final = "<command line>"


class Source(msgspec.Struct, frozen=True):
    text: str
    name: str
    """As tracebacks show it."""


def source_of(file: str | None, source: str | None) -> Source:
    """Raises UsageError where there is nothing to read, BadProgram where it is not Python."""
    if source is not None:
        found = Source(source, COMMAND_LINE)
    elif file is not None:
        found = Source(_read(Path(file)), file)
    else:
        raise UsageError("give a FILE.py or -c SOURCE")
    try:
        compile(found.text, found.name, "exec", dont_inherit=True)
    except SyntaxError as error:
        raise BadProgram(f"{found.name}, line {error.lineno}: {error.msg}") from None
    except ValueError as error:
        raise BadProgram(f"{found.name}: {error}") from None
    return found


def _read(file: Path) -> str:
    try:
        data = file.read_bytes()
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except OSError as error:
        raise UsageError(f"{file} cannot be read: {error.strerror}") from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise BadProgram(f"{file} is not text in UTF-8") from None


def libraries_of(source: Source, ship: Sequence[str] = ()) -> tuple[Body, ...]:
    """The user's own modules that the program could import, and the packages named. Raises BadProgram."""
    file = Path(source.name)
    modules = Modules(beside=Path.cwd() if source.name == COMMAND_LINE else file.resolve().parent)
    own = modules.imported_by(source.text)
    named = [library for library in modules.shipped(ship) if library not in own]
    return bodies_of([*own, *named])


def check_function(source: Source, function: str) -> None:
    """Raises BadProgram for a name the source does not bind. One that it might bind at run time is let through."""
    top = symtable.symtable(source.text, source.name, "exec")
    bound = {symbol.get_name() for symbol in top.get_symbols() if symbol.is_assigned() or symbol.is_imported()}
    bound |= {child.get_name() for child in top.get_children()}
    dynamic = (
        "import *" in source.text or "globals(" in source.text or "exec(" in source.text or "global " in source.text
    )
    if function not in bound and not dynamic:
        raise BadProgram(f"{source.name} has no function {function!r}")


def call_arguments(text: str, *, where: str) -> list[Any]:
    """JSON as [args, kwargs]: a list is positional, an object keyword arguments."""
    try:
        given = json_of(text)
    except ValueError as error:
        raise UsageError(f"{where}: no JSON: {error}") from None
    if isinstance(given, list):
        return [given, {}]
    if isinstance(given, dict):
        return [[], given]
    raise UsageError(f"{where}: must be a JSON list (positional) or object (keyword arguments)")
