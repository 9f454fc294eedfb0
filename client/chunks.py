"""Several calls in one task, for functions so short that a task each would mostly be overhead. Runs in a worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from ..overlay.wire.raised import described

Failure = tuple[tuple[Any, ...], str]
"""`raised.Raised` as data, and the traceback."""


class Chunk:
    """Calls a function for each item. Ends at the first that raises, so that the results before it are not lost."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, items: list[tuple[Any, ...]]) -> tuple[list[Any], Failure | None]:
        function = self.function
        results: list[Any] = []
        try:
            for item in items:
                results.append(function(*item))
        except Exception as error:  # noqa: BLE001  whatever the user's code raises goes home
            return results, _failure(error)
        return results, None


def _failure(error: Exception) -> Failure:
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # begins in this file, which is none of the user's business
    return described(error).plain(), "".join(traceback.format_exception(error))
