"""Several calls in one task, for functions so short that a task each would mostly be overhead. Runs in a worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ..overlay.wire.raised import described

Failure = tuple[tuple[Any, ...], str]
"""`raised.Raised` as data, and the traceback."""


class Chunk:
    """Calls a function with the first of every column, then with the second, and so on: as `map`, by which no bytecode
    of ours runs for each of them. Ends at the first call that raises, so that the results before it are not lost."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *columns: Sequence[Any]) -> list[Any]:
        """The results, and the Failure of the call after them or None."""
        results: list[Any] = []
        try:
            results.extend(map(self.function, *columns))
            if len(results) < len(columns[0]):  # it raised what to `map` is the end, and to its caller a failure
                raise StopIteration
        except Exception as error:  # noqa: BLE001  whatever the user's code raises goes home
            return [results, _failure(error)]
        return [results, None]


def _failure(error: Exception) -> Failure:
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # begins in this file, which is none of the user's business
    return described(error).plain(), "".join(traceback.format_exception(error))
