"""What classes and functions are at home that a program has sent by value.

Sent back by value they would come with all that they refer to, and a class would be written over the program's own. So
whoever sends one says an origin with it, whoever opens that remembers it, and what goes back has the origin instead.

    program   pickles `came(origin, make, arguments)` in place of `make(*arguments)`, and keeps what it has sent in mind
    worker    has made it, knows `origin_of` it, and pickles `at_home(*origin)` in place of it
    program   finds the very object

A task that submits is both; whatever it passes on keeps the origin that it came with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any, Final, TypeVar
from weakref import WeakKeyDictionary, WeakValueDictionary

from . import inside

T = TypeVar("T")

Origin = tuple[str, str, str]
"""An id of the object, "" for what its name alone says; its module and its qualified name there."""

_came: Final[WeakKeyDictionary[object, Origin]] = WeakKeyDictionary()
_here: Final[WeakValueDictionary[Origin, Any]] = WeakValueDictionary()
"""What has come, and what has been sent. Of the process by nature, as its classes are."""


def came(origin: Origin, make: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    made = make(*arguments)
    _came[made] = origin
    _here[origin] = made
    return made


def origin_of(thing: object) -> Origin | None:
    """Of what has come here."""
    try:
        return _came.get(thing)
    except TypeError:  # a class that cannot be hashed, for its metaclass compares classes
        return None


def is_sent(thing: object, origin: Origin) -> None:
    _here[origin] = thing


def at_home(*origin: str) -> object:
    """Raises LookupError for what has gone since."""
    mark, module, name = origin
    found = _here.get((mark, module, name))
    if found is None and inside.current() is None:  # a worker's own modules have names that a program may have, too
        found = named(module, name)
    if found is None:
        raise LookupError(f"the program that has submitted the task has no {module}.{name} any more")
    return found


def named(module: str, name: str) -> object:
    """What a qualified name stands for in a module that is here; None for nothing."""
    found: object = sys.modules.get(module)
    for part in name.split("."):
        found = getattr(found, part, None)
    return getattr(found, "__func__", found)  # of a class method
