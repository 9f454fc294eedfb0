"""By priority (Silberschatz, Galvin, Gagne, Operating System Concepts, §5.3.4), of equals the first that came.

Pre-emptive, nothing runs while something of a higher priority is ready. It starves what is low; `mlfq` and `fair` do
not.
"""

from __future__ import annotations

from .policy import Item, RunsToItsEnd, Schedulable
from .queues import Groups


class ByPriority(RunsToItsEnd[Item]):
    name = "priority"

    def __init__(self, *, preemptive: bool = True) -> None:
        self.preempts = preemptive
        self._ready: Groups[Item] = Groups()
        self._lengths = [0, 0, 0]

    def add(self, now_s: float, item: Item) -> None:
        self._ready.append(item, item.priority, -item.priority)
        self._lengths[_level(item)] += 1

    def put_back(self, item: Item) -> None:
        self._ready.put_first(item, item.priority, -item.priority)
        self._lengths[_level(item)] += 1

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        """It goes on before its equals: its turn is not over."""
        self.put_back(item)

    def peek(self, now_s: float) -> Item | None:
        return self._ready.first()

    def pick(self, now_s: float) -> Item | None:
        item = self._ready.first()
        return None if item is None else self.remove(item.key)

    def remove(self, key: int) -> Item | None:
        item = self._ready.remove(key)
        if item is not None:
            self._lengths[_level(item)] -= 1
        return item

    def rank(self, item: Item, ran_s: float) -> float:
        return -item.priority if self.preempts else 0.0

    def lengths(self) -> list[int]:
        """Above the usual priority, at it, below it: however many there are."""
        return list(self._lengths)

    def __len__(self) -> int:
        return len(self._ready)


def _level(item: Schedulable) -> int:
    return 1 if not item.priority else 0 if item.priority > 0 else 2
