"""Functions under `functools.lru_cache` that live in the program itself: such a wrapper travels by its name alone, and
where it arrives there is none of that name. Made anew in a worker, with an empty cache of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

_Wrapper: Final = type(functools.lru_cache(lambda: None))
Reduced = tuple[Any, ...]
"""As `object.__reduce__` has it, with its sixth part."""


def reduced(obj: object) -> Reduced | None:
    """None for what pickles well by itself."""
    if not isinstance(obj, _Wrapper):
        return None
    if not (getattr(obj, "__module__", "") == "__main__" or "<locals>" in getattr(obj, "__qualname__", "")):
        return None
    how, beside = obj.cache_parameters(), {**vars(obj)}
    return _wrapper, (how["maxsize"], how["typed"]), (beside.pop("__wrapped__"), beside), None, None, _fill


def _wrapper(maxsize: int | None, typed: bool) -> Callable[..., Any]:
    """Around a function that is filled in later: it may name the wrapper itself."""
    return functools.lru_cache(maxsize, typed)(functools.partial(len))


def _fill(wrapper: Any, state: tuple[Callable[..., Any], dict[str, Any]]) -> None:
    function, beside = state
    wrapper.__wrapped__.__setstate__((function, (), {}, {}))
    functools.update_wrapper(wrapper, function)
    vars(wrapper).update(beside)
