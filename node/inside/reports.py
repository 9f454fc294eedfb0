"""Inside a worker: what a task's end looks like to those outside.

A value leaves as data, or as a pickle where the submitter opens pickles; an exception as text and as `raised` describes
it. No object of the user's making may disturb the report about it.
"""

from __future__ import annotations

import importlib
import os
import traceback
from pathlib import Path
from typing import Any, Final

from ...overlay.errors import (
    BadProgram,
    LimitExceeded,
    OutOfMemory,
    PotluckError,
    RemoteProtocolError,
    ResultNotEncodable,
    TaskFailed,
)
from ...overlay.wire import values
from ...overlay.wire.raised import Raised, described
from ...overlay.wire.work import Fault, Inline
from .programs import NonZeroExit

MESSAGE_CHARS_MAX: Final = 2_000
TRACEBACK_CHARS_MAX: Final = 30_000
STATE_BYTES_MAX: Final = 48 << 10
PICKLE_BYTES_MAX: Final = 64 << 10
"""A longer exception is described only."""

_HOMEWARD: Final = f"{__package__}.homeward"
"""Imported when it is needed: with cloudpickle, which data does without."""
_PACKAGE: Final = Path(__file__).parents[2]
_OURS: Final = tuple(f"{_PACKAGE / part}{os.sep}" for part in ("node", "overlay", "client"))
_PLAIN_ERRORS: Final = (BadProgram, ResultNotEncodable, RemoteProtocolError, LimitExceeded, OutOfMemory)

Outcome = tuple[Inline | None, bool, Fault | None]
"""Value, whether it is pickled, fault."""


def outcome_of(value: object, *, may_pickle: bool) -> Outcome:
    try:
        return values.encode(value, once=may_pickle), False, None  # a pickle keeps what is one object one
    except ResultNotEncodable as error:
        if not may_pickle:
            return None, False, Fault(ResultNotEncodable.wire_code, _cut(f"in the result, {error}"))
    try:
        return _pickled(value), True, None
    except Exception as error:  # noqa: BLE001 (the value's own code decides what is raised here)
        reason = f"a result of type {type(value).__qualname__} cannot be sent: {_described(error)}"
        return None, False, Fault(ResultNotEncodable.wire_code, _cut(reason))


def _pickled(value: object) -> Inline:
    buffers: list[Any] = []

    def in_band(buffer: Any) -> bool:
        raw = buffer.raw()
        if raw.nbytes < values.OUT_OF_BAND_BYTES_MIN or len(buffers) >= values.BUFFERS_MAX:
            return True
        buffers.append(raw)
        return False

    return Inline(importlib.import_module(_HOMEWARD).pickled(value, in_band), buffers)


def fault_of(error: BaseException, *, may_pickle: bool = False) -> Fault:
    """Never raises, whatever the exception's class does when it is looked at."""
    try:
        return _fault_of(error, may_pickle)
    except BaseException:  # noqa: BLE001 (attributes of the user's exception may be the user's code)
        return Fault(TaskFailed.wire_code, "an exception that cannot be shown")


def _fault_of(error: BaseException, may_pickle: bool) -> Fault:
    if isinstance(error, NonZeroExit):
        return Fault(TaskFailed.wire_code, str(error), exception_type="builtins.SystemExit")
    if type(error) in _PLAIN_ERRORS and not _raised_by_user(error):
        assert isinstance(error, PotluckError)
        return Fault(error.wire_code, _cut(str(error)))
    raised = described(error)
    return Fault(
        TaskFailed.wire_code,
        _cut(_described(error)),
        exception_type=_cut(raised.exception_type, 256),
        traceback=_traceback(error),
        exception_arguments=b"" if raised.arguments is None else values.encode_bytes(raised.arguments),
        exception_state=_state(raised),
        exception_pickle=_whole(error) if may_pickle and not _is_all(raised, error) else b"",
    )


def _is_all(raised: Raised, error: BaseException) -> bool:
    """Whether the description of an exception says all of it, so that it is the same wherever it is made from that."""
    if type(error).__module__ != "builtins" or isinstance(error, BaseExceptionGroup):
        return isinstance(error, TaskFailed)  # it stands for another, which may be known where this one goes
    return raised.arguments is not None and vars(error).keys() <= raised.attributes.keys()


def _whole(error: BaseException) -> bytes:
    from .homeward import pickled

    try:
        whole = pickled(error)
    except Exception:  # noqa: BLE001 (its own code decides what is raised here; it is described all the same)
        return b""
    return whole if len(whole) <= PICKLE_BYTES_MAX else b""


def _raised_by_user(error: BaseException) -> bool:
    """Whether any frame on the way is not ours: then it is the user's exception, whatever its class."""
    return any(not _is_ours(frame.f_code.co_filename) for frame, _line in traceback.walk_tb(error.__traceback__))


def _is_ours(file_name: str) -> bool:
    return file_name.startswith(_OURS)


def _described(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
        if isinstance(error, TaskFailed):
            return text  # of a task that this one has submitted: it names what was raised there
    except BaseException:  # noqa: BLE001 (a broken __str__ is the user's code too)
        return f"{name} (its text cannot be shown)"
    return f"{name}: {text}" if text else name


def _traceback(error: BaseException) -> str:
    try:
        shown = traceback.TracebackException.from_exception(error, compact=True)
        _drop_our_frames(shown)
        return _cut("".join(shown.format()), TRACEBACK_CHARS_MAX)
    except BaseException:  # noqa: BLE001 (formatting calls the user's __str__, __repr__ and __getattr__)
        return f"{type(error).__name__}: its traceback cannot be shown\n"


def _drop_our_frames(shown: traceback.TracebackException) -> None:
    pending, seen = [shown], set()
    while pending:
        one = pending.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        one.stack[:] = [frame for frame in one.stack if not _is_ours(frame.filename)]
        linked = (one.__cause__, one.__context__, *(getattr(one, "exceptions", None) or ()))
        pending.extend(other for other in linked if other is not None)


def _state(raised: Raised) -> bytes:
    """Of a group too long to be told, the attributes."""
    if not raised.attributes and not raised.parts:
        return b""
    for parts in (raised.plain()[-1], ()):
        encoded = values.encode_bytes((raised.attributes, parts))
        if len(encoded) <= STATE_BYTES_MAX:
            return encoded
    return b""


def _cut(text: str, chars_max: int = MESSAGE_CHARS_MAX) -> str:
    """Keeps both ends; surrogates would not pass the wire."""
    text = text.encode("utf-8", "backslashreplace").decode()
    if len(text) <= chars_max:
        return text
    half = (chars_max - 5) // 2
    return f"{text[:half]} ... {text[-half:]}"
