"""What comes back from a task: its value, or an exception that reads as if it had been raised here.

Nothing is imported for it, and no class but an exception's is ever called.
"""

from __future__ import annotations

import linecache
import pickle  # noqa: TID251  results of own nodes, and those the program said it trusts
import re
import sys
from concurrent.futures import CancelledError
from typing import Any, Final

from ..overlay.errors import Cancelled, PotluckError, RemoteProtocolError, ResultNotEncodable, TaskFailed, from_wire
from ..overlay.wire import values
from ..overlay.wire.work import Fault, Inline


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere; prints the traceback of the machine that ran the task."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{with_source_lines(self.text).rstrip()}\n"""'


class CancelledWhileRunning(Cancelled, CancelledError):
    """A running task was cancelled: caught as `potluck.Cancelled` and as `concurrent.futures.CancelledError`."""

    @property
    def kind(self) -> str:
        return "Cancelled"


def with_source_lines(text: str) -> str:
    """A traceback with the lines of the program that the machine over there could not read, for it has no such file."""
    lines = text.splitlines()
    shown = []
    for number, line in enumerate(lines):
        shown.append(line)
        frame = _FRAME.match(line)
        follower = lines[number + 1] if number + 1 < len(lines) else ""
        if frame and not follower.startswith(frame["indent"] + "  "):
            source = linecache.getline(frame["file"], int(frame["line"])).strip()
            if source:
                shown.append(f"{frame['indent']}  {source}")
    return "\n".join(shown)


_FRAME: Final = re.compile(r'(?P<indent> +)File "(?P<file>[^"]+)", line (?P<line>\d{1,9}), in ')


def value_of(inline: Inline, *, pickled: bool, trusted: bool) -> Any:
    """Raises ResultNotEncodable for a pickle that may not, or does not, open here."""
    if not pickled:
        return values.decode(inline)
    if not trusted:
        raise ResultNotEncodable(
            "the result is a pickle made on another owner's machine: return plain data, or use trust_results=True"
        )
    try:
        return pickle.loads(inline.data, buffers=inline.buffers)  # noqa: S301  judged above
    except Exception as error:
        raise ResultNotEncodable(f"the result does not unpickle here: {type(error).__name__}: {error}") from error


def exception_of(fault: Fault) -> BaseException:
    if fault.code == Cancelled.wire_code:
        return CancelledWhileRunning(fault.message or "the task was cancelled")
    if fault.code != TaskFailed.wire_code:
        return _caused(from_wire(fault.code, fault.message), fault.traceback)
    error = rebuilt(fault.exception_type, _arguments(fault.exception_arguments), fault.message) or TaskFailed(
        fault.message, exception_type=fault.exception_type, remote_traceback=fault.traceback
    )
    return _caused(error, fault.traceback)


def rebuilt(qualified_name: str, arguments: tuple[Any, ...] | None, message: str) -> Exception | None:
    """The exception itself, when its class is already here and it comes out whole. None: `arguments` are no data."""
    cls = _exception_class(qualified_name)
    if cls is None or issubclass(cls, PotluckError):
        return None
    try:
        try:
            error = cls(*(arguments if arguments is not None else (message,)))
        except Exception:  # noqa: BLE001  a constructor with its own idea of arguments: keep class and args
            error = cls.__new__(cls)
            error.args = arguments if arguments is not None else (message,)
        str(error)  # what cannot even be printed is of no use to whoever catches it
    except Exception:  # noqa: BLE001  the class is the user's code
        return None
    return error


def _exception_class(qualified_name: str) -> type[Exception] | None:
    parts = qualified_name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        if isinstance(found, type) and issubclass(found, Exception):
            return found
        return None
    return None


def _arguments(encoded: bytes) -> tuple[Any, ...] | None:
    if not encoded:
        return None
    try:
        arguments = values.decode(Inline(encoded))
    except RemoteProtocolError:
        return None
    return tuple(arguments) if isinstance(arguments, list | tuple) else None


def _caused(error: BaseException, traceback: str) -> BaseException:
    if traceback:
        error.__cause__ = RemoteTraceback(traceback)
    return error
