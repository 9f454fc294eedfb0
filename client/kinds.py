"""Work by kind: functions that nodes have, and programs name.

# handlers.py, on the machines that can do it: potluck up --handlers handlers.py
@potluck.handler("resize")
def resize(path, width): ...

# anywhere
pool.submit(potluck.kind("resize"), "a.png", width=100)
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Final, NoReturn, TypeVar

from ..overlay.errors import ResultNotEncodable, UsageError
from ..overlay.wire import values
from ..overlay.wire.kinds import HANDLES
from ..overlay.wire.work import Inline

F = TypeVar("F", bound=Callable[..., Any])

_KIND: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


def checked_kind(name: object) -> str:
    """Raises UsageError."""
    if not isinstance(name, str) or not _KIND.fullmatch(name):
        raise UsageError(f"kind {name!r}: small letters, digits, - and _, a letter first, 32 at most")
    return name


def handler(kind: str) -> Callable[[F], F]:
    """Marks a function of a handlers' file: on the node that has the file it runs what is submitted as `kind(...)`,
    and `potluck instruct` with the whole instruction for its argument."""
    checked_kind(kind)

    def mark(function: F) -> F:
        setattr(function, HANDLES, kind)
        return function

    return mark


class Kind:
    """In place of a function: whatever handles this kind on the node that runs it. Arguments and results are data."""

    def __init__(self, name: str) -> None:
        self.name = self.__name__ = checked_kind(name)

    def __call__(self, *_arguments: object, **_named: object) -> NoReturn:
        raise TypeError(f"what handles {self.name!r} is on other nodes: submit it to an executor")

    def __repr__(self) -> str:
        return f"potluck.kind({self.name!r})"


def kind(name: str) -> Kind:
    """To be submitted like a function; only nodes that handle this kind are given it."""
    return Kind(name)


def call_of(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Inline:
    """Raises ResultNotEncodable for arguments that are no data."""
    try:
        return values.encode([name, list(args), kwargs])
    except ResultNotEncodable as error:
        raise ResultNotEncodable(f"what a handler is given must be data: {error}") from None
