"""Functions under `functools.lru_cache` that live in the program itself: such a wrapper travels by its name alone, and
where it arrives there is none of that name. Made anew in a worker, with an empty cache of its own."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

_Wrapper: Final = type(functools.lru_cache(lambda: None))
Reduced = tuple[Any, ...]
"""As `object.__reduce__` has it, with its sixth part."""


class _Inner:
    """The function under a wrapper, which is there before it: the function may name the wrapper."""

    function: Callable[..., Any]

    def __call__(self, *positional: Any, **named: Any) -> Any:
        return self.function(*positional, **named)


def reduced(obj: object) -> Reduced | None:
    """None for what pickles well by itself."""
    if not isinstance(obj, _Wrapper) or not (obj.__module__ == "__main__" or "<locals>" in obj.__qualname__):
        return None
    how = obj.cache_parameters()
    return _wrapper, (how["maxsize"], how["typed"]), obj.__wrapped__, None, None, _fill


def _wrapper(maxsize: int | None, typed: bool) -> Callable[..., Any]:
    return functools.lru_cache(maxsize, typed)(_Inner())


def _fill(wrapper: Any, function: Callable[..., Any]) -> None:
    wrapper.__wrapped__.function = function
    functools.update_wrapper(wrapper, function)
