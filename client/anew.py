"""What Python pickles by a name, or not at all, though it is part of the program itself: made anew in a worker.

functools.lru_cache, functools.singledispatch   wrappers, of which the worker has none of that name
functools.cached_property                       held a lock before Python 3.12
typing.NewType                                  goes by its name
functions of class methods                      their name finds the method
classes with __slots__                          cloudpickle gives them a `__dict__` instead, so that what comes back of
                                                them does not fit the program's own class
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from types import FunctionType
from typing import Any, Final, NamedTuple, NewType

import cloudpickle
import msgspec

from ..overlay.wire.origins import named

_Cached: Final = type(functools.lru_cache(lambda: None))
_DISPATCHING: Final = functools.singledispatch(len).__code__  # type: ignore[attr-defined]  # each has the same
_BASES: Final = 2
_TYPE_ARGUMENTS: Final = 3
"""Their places among those of `_make_skeleton_class`."""
Reduced = tuple[Any, ...]
"""As `object.__reduce__` has it, with its sixth part."""


def reduced(obj: object) -> Reduced | None:
    """None for what pickles well by itself."""
    if isinstance(obj, functools.cached_property):
        return type(obj), (obj.func,), {name: value for name, value in vars(obj).items() if name != "lock"}
    if isinstance(obj, _Cached):
        return _cached(obj) if _is_programs(obj) else None
    if isinstance(obj, FunctionType):
        if obj.__code__ is _DISPATCHING:
            return _dispatching(obj) if _is_programs(obj) else None
        return _behind_method(obj) if "." in obj.__qualname__ and not _is_programs(obj) else None
    if isinstance(obj, NewType):
        return (NewType, (obj.__name__, obj.__supertype__), {**vars(obj)}) if _is_programs(obj) else None
    return None


def with_slots(cls: object, made: Any) -> Any:
    """What cloudpickle makes of a class that it takes by value, with the slots that it leaves out. Raises TypeError for
    one that is nothing without what it was made of."""
    if not (isinstance(cls, type) and isinstance(made, tuple) and "__slots__" in vars(cls)):
        return made
    make, arguments, *rest = made
    if make is not cloudpickle.cloudpickle._make_skeleton_class or NamedTuple in arguments[_BASES]:
        return made  # a named tuple that is made anew has those of one
    if isinstance(cls, type(msgspec.Struct)):
        why = "is a msgspec.Struct, which cannot travel with the program itself"
        raise TypeError(f"{cls.__qualname__} {why}: define it in a module of its own, and import that")
    of_type = {**arguments[_TYPE_ARGUMENTS], "__slots__": vars(cls)["__slots__"]}
    return make, (*arguments[:_TYPE_ARGUMENTS], of_type, *arguments[_TYPE_ARGUMENTS + 1 :]), *rest


def _is_programs(obj: object) -> bool:
    """No module that a worker could import has it."""
    module = getattr(obj, "__module__", "")
    by_value = cloudpickle.list_registry_pickle_by_value()
    return module == "__main__" or module in by_value or "<locals>" in getattr(obj, "__qualname__", "")


def _behind_method(function: FunctionType) -> Reduced | None:
    """What `typing` gives generic named tuples is a class method's, and by its name pickle finds only the method."""
    of, _, name = function.__qualname__.rpartition(".")
    cls = named(function.__module__, of)
    method = vars(cls).get(name) if isinstance(cls, type) else None
    return (_function_of, (cls, name)) if isinstance(method, classmethod) and method.__func__ is function else None


def _function_of(cls: type, name: str) -> object:
    return getattr(cls, name).__func__


def _cached(wrapper: Any) -> Reduced:
    how, beside = wrapper.cache_parameters(), {**vars(wrapper)}
    return _empty_cache, (how["maxsize"], how["typed"]), (beside.pop("__wrapped__"), beside), None, None, _fill_cached


def _empty_cache(maxsize: int | None, typed: bool) -> Callable[..., Any]:
    """Around a function that is filled in later: it may name the wrapper itself."""
    return functools.lru_cache(maxsize, typed)(functools.partial(len))


def _fill_cached(wrapper: Any, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, beside = state
    wrapper.__wrapped__.__setstate__((function, (), {}, {}))
    functools.update_wrapper(wrapper, function)
    vars(wrapper).update(beside)


def _dispatching(wrapper: Any) -> Reduced:
    return _without_functions, (), (wrapper.__wrapped__, {**wrapper.registry}), None, None, _fill_dispatching


def _without_functions() -> Callable[..., Any]:
    """As `_empty_cache`."""
    return functools.singledispatch(functools.partial(len))


def _fill_dispatching(wrapper: Any, state: tuple[Callable[..., Any], dict[type, Callable[..., Any]]]) -> None:
    function, registry = state
    for cls, implementation in registry.items():
        wrapper.register(cls, implementation)
    functools.update_wrapper(wrapper, function)
