"""Objects that can be called and change as they like: no pickle of them stays true."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final, TypeVar

from .chunks import Taken
from .options import Optioned, lifted, plain

R = TypeVar("R")

_OURS: Final = frozenset({"builtins", "functools", __name__.partition(".")[0]})


def is_stateful(function: Any) -> bool:
    """Whether it, or what it is a part of, is of a class of somebody's."""
    function = plain(function)
    while isinstance(function, functools.partial):
        function = plain(function.func)
    return type(function).__module__.partition(".")[0] not in _OURS


def taken(function: Callable[..., R]) -> Callable[..., R]:
    """As it is now, for all the calls of a map."""
    function = lifted(function)
    if not is_stateful(function):
        return function
    if isinstance(function, Optioned):
        return Optioned(Taken(function.function), function.options, function.setting)
    return Taken(function)
