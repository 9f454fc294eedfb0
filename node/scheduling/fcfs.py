"""First come, first served: the order of arrival and nothing else."""

from __future__ import annotations

from .policy import Item, RunsToItsEnd
from .queues import Line


class FirstCome(RunsToItsEnd[Item]):
    """Every operation takes constant time."""

    name = "fcfs"
    chooses = False

    def __init__(self) -> None:
        self._ready: Line[Item] = Line()

    def add(self, now_s: float, item: Item) -> None:
        self._ready.append(item)

    def put_back(self, item: Item) -> None:
        self._ready.put_first(item)

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        """Somebody else's doing: its turn is not over."""
        self._ready.put_first(item)

    def peek(self, now_s: float) -> Item | None:
        return self._ready.first()

    def pick(self, now_s: float) -> Item | None:
        return self._ready.take_first()

    def remove(self, key: int) -> Item | None:
        return self._ready.remove(key)

    def lengths(self) -> list[int]:
        return [len(self._ready)]

    def __len__(self) -> int:
        return len(self._ready)
