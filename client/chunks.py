"""Several calls in one task, for functions so short that a task each would mostly be overhead. Runs in a worker."""

from __future__ import annotations

import traceback
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..overlay.errors import LimitExceeded, ResultNotEncodable
from ..overlay.wire import inside, values
from ..overlay.wire.raised import described
from ..overlay.wire.work import CHECKPOINT_BYTES_MAX

Failure = tuple[tuple[Any, ...], str]
"""`raised.Raised` as data, and the traceback."""


class Taken:
    """What is called, as it was when a map began."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


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


_OF_CHUNK: Final = "potluck.chunk"
_KEPT_BYTES_MAX: Final = CHECKPOINT_BYTES_MAX // 2


class _States:
    """`inside.Keeper` of the call that is running. The task's checkpoint is that call's with the results before it:
    another run of the task begins with that call. Where these are too long, or no data, the calls before it run again.
    """

    def __init__(self, keeper: inside.Keeper) -> None:
        self._keeper = keeper
        self._said_by = 0
        self._encoded: list[bytes] | None = []
        """Of the results; None once they are not kept any more."""
        self._encoded_bytes = 0
        self.results: list[Any] = []
        """So far: of as many calls as are over."""
        said: Any = keeper.last(None)
        match said:
            case [str(mark), [*encoded], int(said_by), _state] if mark == _OF_CHUNK:
                self.results += [values.decode_bytes(one) for one in encoded]
                self._said_by = said_by

    def save(self, state: object) -> None:
        said_by = len(self.results)
        if (before := self._before()) is not None:
            try:
                self._keeper.save((_OF_CHUNK, before, said_by, state))
            except LimitExceeded:
                self._encoded = before = None
        if before is None:
            self._keeper.save((_OF_CHUNK, [], said_by, state))
        self._said_by = said_by

    def last(self, default: object) -> object:
        said: Any = self._keeper.last(None) if self._said_by == len(self.results) else None
        return default if said is None else said[-1]

    def _before(self) -> list[bytes] | None:
        """The results, each encoded once; None where they cannot be kept."""
        if self._encoded is not None:
            try:
                for result in self.results[len(self._encoded) :]:
                    self._encoded.append(values.encode_bytes(result))
                    self._encoded_bytes += len(self._encoded[-1])
            except ResultNotEncodable:
                self._encoded_bytes = _KEPT_BYTES_MAX + 1
            if self._encoded_bytes > _KEPT_BYTES_MAX:
                self._encoded = None
        return self._encoded


def _failure(error: Exception) -> Failure:
    if error.__traceback__ is not None:
        error.__traceback__ = error.__traceback__.tb_next  # begins in this file, which is none of the user's business
    return described(error).plain(), "".join(traceback.format_exception(error))
