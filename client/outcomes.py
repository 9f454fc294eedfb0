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

from cloudpickle.cloudpickle import _DYNAMIC_CLASS_TRACKER_BY_CLASS as _TRAVELLED

from ..overlay.errors import Cancelled, PotluckError, RemoteProtocolError, ResultNotEncodable, TaskFailed, from_wire
from ..overlay.wire import inside, values
from ..overlay.wire.raised import Raised, attributes_of, raised_of
from ..overlay.wire.work import Fault, Inline


class RemoteTraceback(Exception):
    """The cause of an exception that was raised elsewhere; prints the traceback of the machine that ran the task."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.tb = with_source_lines(text)
        """Named as in the cause that a process pool gives its exceptions."""

    def __str__(self) -> str:
        return f'\n"""\n{self.tb.rstrip()}\n"""'


_ENDING: Final = (SystemExit, KeyboardInterrupt, GeneratorExit)
"""Caught by hardly anyone: only a machine of the program's own owner may have it ended."""


_CAUSE: Final = BaseException.__dict__["__cause__"]


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
            f"the result is not plain data but a pickle, made on another owner's machine: {values.REMEDY}"
        )
    try:
        return pickle.loads(inline.data, buffers=inline.buffers)  # noqa: S301  judged above
    except BaseException as error:  # SystemExit too: the result's own code runs, and not in its user's thread
        raise ResultNotEncodable(f"the result does not unpickle here: {type(error).__name__}: {error}") from error


def exception_of(fault: Fault, *, trusted: bool = False) -> BaseException:
    """`trusted`: what would end this program, such as SystemExit, may be raised as itself."""
    if fault.code == Cancelled.wire_code:
        return CancelledWhileRunning(fault.message or "the task was cancelled")
    if fault.code != TaskFailed.wire_code:
        return _caused(from_wire(fault.code, fault.message), fault.traceback)
    raised = _raised_in(fault)
    error = _opened(fault.exception_pickle) if trusted else None
    if error is None:
        error = rebuilt(raised, trusted=trusted)
    return _caused(failed(raised, fault.traceback) if error is None else error, fault.traceback)


def _opened(pickled: bytes) -> BaseException | None:
    """The very exception, of a machine whose pickles are opened. None where it does not come out whole."""
    try:
        error = pickle.loads(pickled) if pickled else None  # noqa: S301  judged by whoever calls
        str(error)
    except BaseException:  # noqa: BLE001  the class is the user's code, and a constructor may call `sys.exit`
        return None
    return error if isinstance(error, BaseException) else None


def failed(raised: Raised, traceback: str) -> TaskFailed:
    """For what cannot be raised as itself here."""
    return TaskFailed(raised.message, exception_type=raised.exception_type, remote_traceback=traceback)


def rebuilt(raised: Raised, *, trusted: bool = False) -> BaseException | None:
    """The exception itself, when its class is already here and it comes out whole."""
    cls = _exception_class(raised.exception_type, trusted=trusted)
    if cls is None or issubclass(cls, PotluckError):
        return None
    try:
        error = _group(cls, raised, trusted) if issubclass(cls, BaseExceptionGroup) else _made(cls, raised)
        for name, value in raised.attributes.items():
            _set(error, name, value)
        str(error)  # what cannot even be printed is of no use to whoever catches it
    except BaseException:  # noqa: BLE001  the class is the user's code, and a constructor may call `sys.exit`
        return None
    return error


def _made(cls: type[BaseException], raised: Raised) -> BaseException:
    said = raised.message.removeprefix(f"{cls.__name__}: ")  # which is said again where it is printed
    arguments = (said,) if raised.arguments is None else raised.arguments
    try:
        return cls(*arguments)
    except Exception:  # noqa: BLE001  a constructor with its own idea of arguments: keep class and args
        error = cls.__new__(cls)
        error.args = arguments
        return error


def _group(cls: type[BaseExceptionGroup[BaseException]], raised: Raised, trusted: bool) -> BaseException:
    """Raises ValueError where its parts did not travel, for there are no empty groups."""
    rebuilt_parts = [rebuilt(part, trusted=trusted) for part in raised.parts]
    parts = [failed(part, "") if one is None else one for one, part in zip(rebuilt_parts, raised.parts, strict=True)]
    (message,) = raised.arguments or ("",)
    return cls(str(message), parts)


def _set(error: BaseException, name: str, value: object) -> None:
    try:
        setattr(error, name, value)
    except AttributeError:
        pass  # computed over here


def _exception_class(qualified_name: str, *, trusted: bool) -> type[BaseException] | None:
    found = _named(qualified_name)
    if not isinstance(found, type) or not issubclass(found, BaseException):
        return None
    if issubclass(found, Exception | BaseExceptionGroup) or (trusted and found in _ENDING):
        return found
    return None


def _named(qualified_name: str) -> object:
    """What a name stands for in the modules that are already here; in a task also among the program's own classes that
    have come along with it, which are in no module."""
    parts = qualified_name.split(".")
    if parts[0] == "__main__" and inside.current() is not None:
        known = (cls for cls in list(_TRAVELLED) if f"{cls.__module__}.{cls.__qualname__}" == qualified_name)
        return next(known, None)
    for cut in range(len(parts) - 1, 0, -1):
        found: object = sys.modules.get(".".join(parts[:cut]))
        if found is None:
            continue
        for part in parts[cut:]:
            found = getattr(found, part, None)
        return found
    return None


def _raised_in(fault: Fault) -> Raised:
    """What does not parse is left out: the kind of exception and its message stand by themselves."""
    arguments = _data(fault.exception_arguments)
    raised = Raised(fault.exception_type, fault.message, tuple(arguments) if _is_sequence(arguments) else None, {})
    match _data(fault.exception_state):
        case (dict(attributes), tuple(parts)):
            try:
                return raised._replace(attributes=attributes_of(attributes), parts=tuple(map(raised_of, parts)))
            except RemoteProtocolError:
                return raised
    return raised


def _data(encoded: bytes) -> Any:
    try:
        return values.decode(Inline(encoded)) if encoded else None
    except RemoteProtocolError:
        return None


def _is_sequence(value: object) -> bool:
    return isinstance(value, list | tuple)


def _caused(error: BaseException, traceback: str) -> BaseException:
    if traceback:
        _CAUSE.__set__(error, RemoteTraceback(traceback))  # a frozen dataclass may not be assigned to
    return error
