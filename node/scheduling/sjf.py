"""Shortest job first (Silberschatz, Galvin, Gagne, Operating System Concepts, §5.3.2), of equals the first that came.

How long an item runs is said with it, or learned from what the same function has taken: the exponential average of that
section. What nothing is known of goes first, so that it becomes known. Of items that are there at the same time no
order has a lower mean wait. Pre-emptive, it is shortest remaining time first.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic

import msgspec

from .policy import Item, RunsToItsEnd
from .queues import Groups

FUNCTIONS_MAX: Final = 4096
"""Whose run times are remembered; the one that ended longest ago is forgotten first."""
WEIGHT: Final = 0.5
"""Of the latest run, in the average."""


class RunTimes:
    """What each function has taken lately."""

    def __init__(self) -> None:
        self._mean_s: OrderedDict[Hashable, float] = OrderedDict()

    def learn(self, function: Hashable, ran_s: float) -> float:
        mean_s = self._mean_s.get(function, ran_s)
        mean_s += WEIGHT * (ran_s - mean_s)
        self._mean_s[function] = mean_s
        self._mean_s.move_to_end(function)
        if len(self._mean_s) > FUNCTIONS_MAX:
            self._mean_s.popitem(last=False)
        return mean_s

    def of(self, function: Hashable) -> float:
        return self._mean_s.get(function, 0.0)


class _Run(msgspec.Struct):
    """`estimate_s` is what was known when it was first stopped: what is learned later moves only what has not run."""

    estimate_s: float
    ran_s: float = 0.0


class ShortestFirst(RunsToItsEnd[Item], Generic[Item]):
    """What is known of by its function alone waits in one group, which moves when that is learned anew."""

    name = "sjf"

    def __init__(self, *, preemptive: bool = False) -> None:
        self.preempts = preemptive
        self._ready: Groups[Item] = Groups()
        self._times = RunTimes()
        self._runs: dict[Item, _Run] = {}
        """Of what has run and is not over."""

    def add(self, now_s: float, item: Item) -> None:
        self._ready.append(item, *self._place(item))

    def put_back(self, item: Item) -> None:
        self._ready.put_first(item, *self._place(item))

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        self.blocked(now_s, item, ran_s)
        self.put_back(item)

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        run = self._runs.setdefault(item, _Run(self._estimate_s(item)))
        run.ran_s += ran_s

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        if (run := self._runs.pop(item, None)) is not None:
            ran_s += run.ran_s
        if completed:
            self._ready.rerank(("like", item.function), self._times.learn(item.function, ran_s))

    def peek(self, now_s: float) -> Item | None:
        return self._ready.first()

    def pick(self, now_s: float) -> Item | None:
        return self._ready.take_first()

    def remove(self, key: int) -> Item | None:
        item = self._ready.remove(key)
        if item is not None:
            self._runs.pop(item, None)
        return item

    def rank(self, item: Item, ran_s: float) -> float:
        return self._remaining_s(item, ran_s) if self.preempts else 0.0

    def lengths(self) -> list[int]:
        return [len(self._ready)]

    def __len__(self) -> int:
        return len(self._ready)

    def _place(self, item: Item) -> tuple[Hashable, float]:
        """Its group, and the rank of that."""
        remaining_s = self._remaining_s(item, 0.0)
        if item.estimate_s is None and item not in self._runs:
            return ("like", item.function), remaining_s
        return ("takes", remaining_s), remaining_s

    def _remaining_s(self, item: Item, ran_s: float) -> float:
        """Whoever has run longer than was said is nearly done, for all that is known."""
        run = self._runs.get(item)
        left_s = self._estimate_s(item) if run is None else run.estimate_s - run.ran_s
        return max(0.0, left_s - ran_s)

    def _estimate_s(self, item: Item) -> float:
        return self._times.of(item.function) if item.estimate_s is None else item.estimate_s
