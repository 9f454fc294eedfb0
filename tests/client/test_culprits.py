"""A function that cannot be pickled is told for what."""

from __future__ import annotations

import functools
import threading

import pytest
from potluck.client.programs import Packer


def notes_of(function: object) -> str:
    with pytest.raises(TypeError, match="cannot pickle") as raised:
        Packer().body(function)  # type: ignore[arg-type]
    return "\n".join(getattr(raised.value, "__notes__", ()))


def test_the_variable_is_named_and_the_function_that_refers_to_it() -> None:
    lock, fine, later = threading.Lock(), [1, 2], None

    def inner() -> object:
        return lock

    def outer() -> object:
        return fine, later, inner()

    for function in (outer, functools.partial(outer)):
        place = f"{inner.__qualname__} ({__file__}, line {inner.__code__.co_firstlineno})"
        assert notes_of(function) == f"{place} refers to lock, of type lock, which cannot be pickled"


def test_globals_are_named_and_what_is_merely_called_like_one_is_not() -> None:
    made: dict[str, object] = {"lock": threading.Lock(), "held": [threading.Lock()], "__name__": "__main__"}
    exec("def task(it):\n    return it.lock, held", made)
    assert "refers to held, of type list" in notes_of(made["task"])


def test_where_it_is_none_of_its_variables_nothing_is_said() -> None:
    assert notes_of(functools.partial(len, threading.Lock())) == ""
