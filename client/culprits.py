"""Which part of a function cannot be pickled: Python names the part's type alone."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType, ModuleType

from .references import referred


def name_culprit(error: Exception, function: object, pickle: Callable[[object], object]) -> None:
    """Adds to what pickling `function` has raised which variable of which function it was for, if it was for one.
    Pickles them one by one."""
    for where, name, value in referred(function):
        if isinstance(value, FunctionType | type | ModuleType):
            continue  # those that travel by value are looked into themselves
        try:
            pickle(value)
        except Exception:  # noqa: BLE001  pickling runs the user's own __reduce__
            code = where.__code__
            place = f"{where.__qualname__} ({code.co_filename}, line {code.co_firstlineno})"
            error.add_note(f"{place} refers to {name}, of type {type(value).__qualname__}, which cannot be pickled")
            return
