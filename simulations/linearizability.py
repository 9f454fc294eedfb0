"""Whether a history of one register could have happened one operation at a time.

After Wing and Gong (1993) with the just-in-time order and memory of Lowe (2017): events are taken in order of time, and
what is kept is the set of all (value, operations under way that have already taken effect). An operation takes effect
no earlier than some return needs it, unless it changes nothing: then as soon as its answer fits, which takes nothing
from any other. Those that never returned may take effect at any time or never; of several equal ones it does not matter
which.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Final, Literal

import msgspec

Value = int | None
Kind = Literal["read", "add", "compare_and_set"]

CONFIGURATIONS_MAX: Final = 400_000


class Operation(msgspec.Struct, frozen=True):
    """`answer`: the value read, the sum, or whether it was set; without meaning while `returned_at` is infinite."""

    kind: Kind
    called_at: float
    returned_at: float = math.inf
    answer: Value | bool = None
    amount: int = 0
    expected: Value = None
    new: Value = None

    @property
    def returned(self) -> bool:
        return self.returned_at != math.inf

    def apply(self, value: Value) -> tuple[Value, Value | bool]:
        """What the register holds afterwards, and the answer."""
        if self.kind == "read":
            return value, value
        if self.kind == "add":
            total = (value or 0) + self.amount
            return total, total
        return (self.new, True) if value == self.expected else (value, False)

    def shown(self) -> str:
        what = {"read": "read", "add": f"add {self.amount}", "compare_and_set": f"set {self.expected} to {self.new}"}
        end = f"{self.answer!r} at {self.returned_at:g}" if self.returned else "no answer"
        return f"{what[self.kind]} at {self.called_at:g}: {end}"


_Done = frozenset[int]
_Configuration = tuple[Value, _Done]


class TooMany(Exception):
    """The history leaves more open than can be looked at."""


def fault(history: Iterable[Operation], beginning: Value = None) -> str | None:
    """None if the history is linearizable; else the first answer that no order explains."""
    operations = list(history)
    events = sorted(
        [(one.called_at, 1, index) for index, one in enumerate(operations)]
        + [(one.returned_at, 0, index) for index, one in enumerate(operations) if one.returned]
    )
    open_now: list[int] = []
    possible: set[_Configuration] = {(beginning, frozenset())}
    for _, is_call, index in events:
        if is_call:
            open_now.append(index)
            continue
        possible = set(_after_return(operations, possible, open_now, index))
        open_now.remove(index)
        if not possible:
            return operations[index].shown()
    return None


def _after_return(
    operations: list[Operation], possible: set[_Configuration], open_now: list[int], returning: int
) -> Iterator[_Configuration]:
    """Every configuration in which the returning operation has taken effect with its answer; it is open no more."""
    seen = {(value, _with_idle(operations, open_now, value, done)) for value, done in possible}
    waiting = list(seen)
    while waiting:
        value, done = waiting.pop()
        if returning in done:
            yield value, done - {returning}
            continue
        for index in _candidates(operations, open_now, done):
            after, answer = operations[index].apply(value)
            if after == value or (operations[index].returned and answer != operations[index].answer):
                continue
            following = after, _with_idle(operations, open_now, after, done | {index})
            if following not in seen:
                seen.add(following)
                waiting.append(following)
                if len(seen) > CONFIGURATIONS_MAX:
                    raise TooMany


def _with_idle(operations: list[Operation], open_now: list[int], value: Value, done: _Done) -> _Done:
    """… and with those that may take effect now and change nothing."""
    fitting = (index for index in open_now if operations[index].apply(value) == (value, operations[index].answer))
    return done.union(index for index in fitting if operations[index].returned)


def _candidates(operations: list[Operation], open_now: list[int], done: _Done) -> Iterator[int]:
    """Open operations that may take effect now: all that will return, and one of each kind of those that will not."""
    lost: set[tuple[object, ...]] = set()
    for index in open_now:
        one = operations[index]
        if index in done or (not one.returned and one.kind == "read"):
            continue
        if not one.returned:
            same = (one.kind, one.amount, one.expected, one.new)
            if same in lost:
                continue
            lost.add(same)
        yield index
