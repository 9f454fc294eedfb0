"""Several calls in one task, for functions so short that a task each would mostly be overhead. Runs in a worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any

from ..overlay.errors import LimitExceeded, ResultNotEncodable
from ..overlay.wire import inside
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
        keeper = inside.keeper()
        if keeper is None:
            return self._call([], columns)
        states = _States(keeper)
        with inside.keeping(states):
            return self._call(states.results, [column[len(states.results) :] for column in columns])

    def _call(self, results: list[Any], columns: Sequence[Sequence[Any]]) -> list[Any]:
        """`results` of earlier calls; those of these are added, one by one."""
        count = len(results) + len(columns[0])
        try:
            results.extend(map(self.function, *columns))
            if len(results) < count:  # it raised what to `map` is the end, and to its caller a failure
                raise StopIteration
        except Exception as error:  # noqa: BLE001  whatever the user's code raises goes home
            return [results, _failure(error)]
        return [results, None]


class _States:
    """`inside.Keeper` of the call that is running. The task's checkpoint is that call's with the results before it:
    another run of the task begins with that call. Where these are too long, or no data, the calls before it run again.
    """

    def __init__(self, keeper: inside.Keeper) -> None:
        self._keeper = keeper
        self._said_by = 0
        self.results: list[Any] = []
        """So far: of as many calls as are over."""
        said: Any = keeper.last(None)
        if said is not None:
            results, self._said_by, _state = said
            self.results += results

    def save(self, state: object) -> None:
        self._said_by = len(self.results)
        try:
            self._keeper.save((self.results, self._said_by, state))
        except (LimitExceeded, ResultNotEncodable):
            self._keeper.save(([], self._said_by, state))  # raises if it is the state itself

    def last(self, default: object) -> object:
        said: Any = self._keeper.last(None) if self._said_by == len(self.results) else None
        return default if said is None else said[-1]


def _failure(error: Exception) -> Failure:
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # begins in this file, which is none of the user's business
    return described(error).plain(), "".join(traceback.format_exception(error))
