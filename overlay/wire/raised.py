"""An exception as data: what another process may be told of it, and nothing that could run code there.

Its class by name, what it says, and as far as they are data (`values`): what it is made from, the attributes of the
instance (its notes are one), and the exceptions that a group holds, each described the same way.
"""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from ..errors import RemoteProtocolError, TaskFailed
from . import values

PARTS_MAX: Final = 64
DEPTH_MAX: Final = 8
BYTES_MAX: Final = 32 << 10
"""Of the arguments of one exception, and of each of its attributes; what is longer stays behind."""
NOTES: Final = "__notes__"


class Raised(NamedTuple):
    exception_type: str
    message: str
    arguments: tuple[Any, ...] | None
    """None where they are not data."""
    attributes: dict[str, Any]
    parts: tuple[Raised, ...] = ()

    def plain(self) -> tuple[Any, ...]:
        return (*self[:4], tuple(part.plain() for part in self.parts))


def described(error: BaseException, depth: int = 0) -> Raised:
    """Runs the user's code, as any look at an exception does: raises whatever that raises."""
    kind = type(error)
    if isinstance(error, TaskFailed) and error.exception_type:  # it stands for what was raised in another task
        return Raised(error.exception_type, text_of(error), None, {})
    if isinstance(error, BaseExceptionGroup):
        inner = error.exceptions if depth < DEPTH_MAX and len(error.exceptions) <= PARTS_MAX else ()
        arguments: object = (error.message,)
        attributes = vars(error)
        parts = tuple(described(part, depth + 1) for part in inner)
    else:
        arguments, attributes = _made_from(error)
        parts = ()
    return Raised(
        f"{kind.__module__}.{kind.__qualname__}",
        text_of(error),
        arguments if isinstance(arguments, tuple) and _is_short_data(arguments) else None,
        {name: value for name, value in attributes.items() if _may_travel(name) and _is_short_data(value)},
        parts,
    )


def raised_of(data: object, depth: int = 0) -> Raised:
    """Raises RemoteProtocolError for what does not describe an exception."""
    match data:
        case (str(name), str(message), None | tuple() as arguments, dict(attributes), tuple(parts)) if (
            len(parts) <= PARTS_MAX and depth <= DEPTH_MAX
        ):
            inner = tuple(raised_of(part, depth + 1) for part in parts)
            return Raised(name, message, arguments, attributes_of(attributes), inner)
    raise RemoteProtocolError("this describes no exception")


def attributes_of(data: dict[Any, Any]) -> dict[str, Any]:
    return {name: value for name, value in data.items() if isinstance(name, str) and _may_travel(name)}


def text_of(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:  # noqa: BLE001  __str__ is the user's code
        return f"<{type(error).__name__} that cannot be printed>"


def _made_from(error: BaseException) -> tuple[object, dict[str, Any]]:
    """As pickle would: a class with a constructor of its own can say by `__reduce__` what it takes."""
    try:
        reduced = error.__reduce__()
    except Exception:  # noqa: BLE001  __reduce__ may be the user's code
        return error.args, vars(error)
    match reduced:
        case (made_by, tuple(arguments), *rest) if made_by is type(error):
            return arguments, rest[0] if rest and isinstance(rest[0], dict) else {}
    return error.args, vars(error)


def _may_travel(name: str) -> bool:
    return name == NOTES or not name.startswith("__")


def _is_short_data(value: object) -> bool:
    try:
        return len(values.encode_bytes(value)) <= BYTES_MAX
    except Exception:  # noqa: BLE001  no data; and looking at a stranger's object may run its code
        return False
