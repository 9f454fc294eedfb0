"""What a function that travels by value refers to, and whether it still does.

Its pickle holds what it refers to as that was. In a notebook, and wherever else names are bound anew while the function
stays, the pickle grows old: another helper, another setting, or one that was missing at first.
"""

from __future__ import annotations

import builtins
import functools
from collections.abc import Callable, Iterator
from types import CellType, CodeType, FunctionType, ModuleType
from typing import Any, Final

_MISSING: Final = object()
_BY_VALUE: Final = "__main__"
"""The module whose functions no other process has; those that are made within functions are no module's."""


def is_stateful(function: object) -> bool:
    """Whether it is an object of somebody's class, which changes as it likes: no pickle of it stays true."""
    return type(function).__module__.partition(".")[0] not in _OURS


_OURS: Final = frozenset({"builtins", "functools", __name__.partition(".")[0]})


class References:
    """By identity. What is changed in place stays the same; a list that grows is seen where it is an argument."""

    def __init__(self, function: Callable[..., Any]) -> None:
        names: dict[tuple[int, str], tuple[dict[str, Any], str, int]] = {}
        cells: dict[int, tuple[CellType, int]] = {}
        for one in _reached(_plain(function)):
            for name in _names(one.__code__):
                value = one.__globals__.get(name, _MISSING)
                if not isinstance(value, ModuleType) and not (value is _MISSING and hasattr(builtins, name)):
                    names[id(one.__globals__), name] = one.__globals__, name, id(value)
            for cell in one.__closure__ or ():
                cells[id(cell)] = cell, id(_contents(cell))
        self._names = tuple(names.values())
        self._cells = tuple(cells.values())

    def hold(self) -> bool:
        for namespace, name, known in self._names:
            if id(namespace.get(name, _MISSING)) != known:
                return False
        return not self._cells or all(id(_contents(cell)) == known for cell, known in self._cells)


def _plain(function: Callable[..., Any]) -> object:
    while isinstance(function, functools.partial):
        function = function.func
    return function if isinstance(function, FunctionType) else getattr(function, "__wrapped__", function)


def _reached(function: object) -> Iterator[FunctionType]:
    """It, and those by value that it comes to by what it refers to."""
    seen: set[int] = set()
    waiting = [function]
    while waiting:
        one = waiting.pop()
        if not isinstance(one, FunctionType) or id(one) in seen or not _is_by_value(one):
            continue
        seen.add(id(one))
        yield one
        waiting += [one.__globals__.get(name) for name in _names(one.__code__)]
        waiting += [_contents(cell) for cell in one.__closure__ or ()]


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
