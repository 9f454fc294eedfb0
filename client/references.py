"""What a function that travels by value refers to, and whether it still does.

Its pickle holds what it refers to as that was. In a notebook, and wherever else names are bound anew while the function
stays, the pickle grows old: another helper, another setting, or one that was missing at first.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Iterator, Mapping
from types import CellType, CodeType, FunctionType
from typing import Any, Final

from cloudpickle.cloudpickle import _extract_code_globals

_MISSING: Final = object()
_BY_VALUE: Final = "__main__"
"""The module whose functions no other process has; those that are made within functions are no module's."""


class _Referrer:
    """One function, by the names in it, and what they stood for. Nothing is kept alive by this that can be held weakly:
    what has gone since stands for nothing any more."""

    __slots__ = ("_cells", "_function", "_names")

    def __init__(self, function: FunctionType) -> None:
        namespace = function.__globals__
        self._function = weakref.ref(function)
        self._names = [(name, _held(namespace.get(name, _MISSING))) for name in {*_names(function.__code__)}]
        self._cells = [_held(_contents(cell)) for cell in function.__closure__ or ()]

    def holds(self) -> bool:
        function = self._function()
        if function is None:
            return False
        namespace = function.__globals__
        for name, held in self._names:
            if held() is not namespace.get(name, _MISSING):
                return False
        return not self._cells or all(
            held() is _contents(cell) for held, cell in zip(self._cells, function.__closure__ or (), strict=True)
        )


class References:
    """By identity. What is changed in place stays the same; a list that grows is seen where it is an argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._referrers = [_Referrer(one) for one in _reached(function)]

    def hold(self) -> bool:
        return all(map(_Referrer.holds, self._referrers))


def _held(value: object) -> Callable[[], object]:
    try:
        return weakref.ref(value)
    except TypeError:
        return lambda: value


def _reached(function: object) -> Iterator[FunctionType]:
    """It, and those by value that it comes to by what it refers to."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        one = waiting.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if isinstance(one, functools.partial):
            waiting.append(one.func)
        elif isinstance(one, FunctionType):
            if _is_by_value(one):
                yield one
                waiting += [one.__globals__.get(name) for name in _names(one.__code__)]
                waiting += [_contents(cell) for cell in one.__closure__ or ()]
        elif isinstance(one, type):
            waiting += _functions_of(one)
        else:
            waiting.append(_wrapped_in(one))


def referred(function: object) -> Iterator[tuple[FunctionType, str, object]]:
    """What it, and those by value that it comes to, refer to by which name."""
    for one in _reached(function):
        variables = {name: one.__globals__.get(name, _MISSING) for name in _extract_code_globals(one.__code__)}
        variables |= dict(zip(one.__code__.co_freevars, map(_contents, one.__closure__ or ()), strict=True))
        yield from ((one, name, value) for name, value in variables.items() if value is not _MISSING)


def _functions_of(kind: type) -> list[object]:
    of: Mapping[str, object] = vars(kind) if kind.__module__ == _BY_VALUE else {}
    return [getattr(one, "__func__", getattr(one, "fget", one)) for one in of.values()]


def _wrapped_in(one: object) -> object:
    """Of what `functools` has made of a function, that function."""
    return getattr(one, "__wrapped__", None) if type(one).__module__ == "functools" else None


def _is_by_value(function: FunctionType) -> bool:
    return function.__module__ == _BY_VALUE or "<" in function.__qualname__


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for part in code.co_consts:
        if isinstance(part, CodeType):
            yield from _names(part)


def _contents(cell: CellType) -> object:
    try:
        return cell.cell_contents
    except ValueError:  # it is bound later
        return _MISSING
