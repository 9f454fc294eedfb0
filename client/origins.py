"""What goes by value is marked with what it is here, by which it comes home: see `overlay.wire.origins`.

Classes by cloudpickle's id of them, whatever stands for their name by then. All else by its name, where the very object
is what that stands for: an id drawn for it would make of every run of a program another program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from cloudpickle.cloudpickle import _make_skeleton_class, _make_skeleton_enum

from ..overlay.wire.origins import Origin, came, is_sent, named, origin_of
from .anew import Reduced
from .enums import make_enum

_ID: Final[dict[Callable[..., Any], int]] = {_make_skeleton_class: 4, _make_skeleton_enum: 5, make_enum: 5}
"""Its place among the arguments by which a class is made."""


def marked(thing: object, reduced: Reduced) -> Reduced:
    """`reduced` is how it would be made; what has no origin is made like that."""
    origin = origin_of(thing) or _origin_here(thing, reduced)
    if origin is None:
        return reduced
    is_sent(thing, origin)
    make, arguments, *rest = reduced
    return came, (origin, make, arguments), *rest


def _origin_here(thing: Any, reduced: Reduced) -> Origin | None:
    module, name = getattr(thing, "__module__", None), getattr(thing, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    if isinstance(thing, type):
        return (reduced[1][_ID[reduced[0]]], module, name) if reduced[0] in _ID else None
    return ("", module, name) if "<" not in name and named(module, name) is thing else None
