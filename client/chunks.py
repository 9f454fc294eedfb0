"""Several calls in one task, for functions so short that a task each would mostly be overhead. Runs in a worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any, Final, NamedTuple

_PLAIN: Final[frozenset[type]] = frozenset({str, bytes, int, float, bool, type(None)})


class Failure(NamedTuple):
    exception_type: str
    message: str
    arguments: tuple[Any, ...] | None
    traceback: str


class Chunk:
    """Calls a function for each item. Ends at the first that raises, so that the results before it are not lost."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, items: list[tuple[Any, ...]]) -> tuple[list[Any], tuple[Any, ...] | None]:
        function = self.function
        results: list[Any] = []
        try:
            for item in items:
                results.append(function(*item))
        except Exception as error:  # noqa: BLE001  whatever the user's code raises goes home
            return results, tuple(_failure(error))
        return results, None


def _failure(error: Exception) -> Failure:
    cls = type(error)
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # begins in this file, which is none of the user's business
    try:
        message = str(error)
    except Exception:  # noqa: BLE001  __str__ is the user's code
        message = f"<{cls.__name__} that cannot be printed>"
    text = "".join(traceback.format_exception(error))
    plain = all(type(argument) in _PLAIN for argument in error.args)
    return Failure(f"{cls.__module__}.{cls.__qualname__}", message, error.args if plain else None, text)
