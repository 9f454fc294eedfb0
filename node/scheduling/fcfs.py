"""First come, first served: the order of arrival and nothing else."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic

from .policy import Item


class FirstCome(Generic[Item]):
    """Every operation takes constant time."""

    def __init__(self) -> None:
        self._waiting: OrderedDict[int, Item] = OrderedDict()

    def add(self, now_s: float, item: Item) -> None:
        assert item.key not in self._waiting
        self._waiting[item.key] = item

    def put_back(self, item: Item) -> None:
        assert item.key not in self._waiting
        self._waiting[item.key] = item
        self._waiting.move_to_end(item.key, last=False)

    def peek(self) -> Item | None:
        for item in self._waiting.values():
            return item
        return None

    def pick(self) -> Item | None:
        return self._waiting.popitem(last=False)[1] if self._waiting else None

    def remove(self, key: int) -> Item | None:
        return self._waiting.pop(key, None)

    def lengths(self) -> list[int]:
        return [len(self._waiting)]

    def __len__(self) -> int:
        return len(self._waiting)
