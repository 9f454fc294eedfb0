"""The two queues that policies are made of.

`Line`     in order of arrival; every operation takes constant time
`Groups`   lines, each with a rank; the lowest rank first, of equals the one whose first item came first. An operation
           takes O(log g) for g groups, and a group moves with all its items by one `rerank`.
"""

from __future__ import annotations

import heapq
from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic

from .policy import Item

_STALE_MIN: Final = 64


class Line(Generic[Item]):
    def __init__(self) -> None:
        self._items: OrderedDict[int, Item] = OrderedDict()

    def append(self, item: Item) -> None:
        assert item.key not in self._items
        self._items[item.key] = item

    def put_first(self, item: Item) -> None:
        self.append(item)
        self._items.move_to_end(item.key, last=False)

    def first(self) -> Item | None:
        for item in self._items.values():
            return item
        return None

    def take_first(self) -> Item | None:
        return self._items.popitem(last=False)[1] if self._items else None

    def remove(self, key: int) -> Item | None:
        return self._items.pop(key, None)

    def __len__(self) -> int:
        return len(self._items)


class _Group(Generic[Item]):
    __slots__ = ("items", "name", "rank")

    def __init__(self, name: Hashable, rank: float) -> None:
        self.name = name
        self.rank = rank
        self.items: OrderedDict[int, tuple[int, Item]] = OrderedDict()
        """Each with its place among all that came, so that groups of equal rank are merged in order of arrival."""

    def head(self) -> tuple[float, int]:
        for place, _item in self.items.values():
            return self.rank, place
        raise AssertionError("an empty group is forgotten")


class Groups(Generic[Item]):
    """Entries of the heap are never changed: one that is no longer true is skipped when it comes to the top."""

    def __init__(self) -> None:
        self._groups: dict[Hashable, _Group[Item]] = {}
        self._of: dict[int, _Group[Item]] = {}
        self._heap: list[tuple[float, int, int, _Group[Item]]] = []
        self._last = 0
        self._before_first = 0
        self._pushes = 0

    def append(self, item: Item, name: Hashable, rank: float) -> None:
        """`rank` becomes that of the whole group."""
        group = self._group_for(item, name)
        self._last += 1
        group.items[item.key] = self._last, item
        if len(group.items) == 1 or group.rank != rank:
            group.rank = rank
            self._push(group)

    def put_first(self, item: Item, name: Hashable, rank: float) -> None:
        """Before the others of its group, and of groups of equal rank."""
        group = self._group_for(item, name)
        self._before_first -= 1
        group.items[item.key] = self._before_first, item
        group.items.move_to_end(item.key, last=False)
        group.rank = rank
        self._push(group)

    def rerank(self, name: Hashable, rank: float) -> None:
        group = self._groups.get(name)
        if group is not None and group.rank != rank:
            group.rank = rank
            self._push(group)

    def first(self) -> Item | None:
        group = self._first_group()
        return None if group is None else next(iter(group.items.values()))[1]

    def take_first(self) -> Item | None:
        item = self.first()
        return None if item is None else self.remove(item.key)

    def remove(self, key: int) -> Item | None:
        group = self._of.pop(key, None)
        if group is None:
            return None
        was_first = next(iter(group.items)) == key
        item = group.items.pop(key)[1]
        if not group.items:
            del self._groups[group.name]
        elif was_first:
            self._push(group)
        return item

    def __len__(self) -> int:
        return len(self._of)

    def _group_for(self, item: Item, name: Hashable) -> _Group[Item]:
        assert item.key not in self._of
        group = self._groups.get(name)
        if group is None:
            group = self._groups[name] = _Group(name, 0.0)
        self._of[item.key] = group
        return group

    def _push(self, group: _Group[Item]) -> None:
        if len(self._heap) > _STALE_MIN + 2 * len(self._groups):
            self._heap = [entry for entry in self._heap if self._is_true(entry)]
            heapq.heapify(self._heap)
        self._pushes += 1
        heapq.heappush(self._heap, (*group.head(), self._pushes, group))

    def _is_true(self, entry: tuple[float, int, int, _Group[Item]]) -> bool:
        rank, place, _push, group = entry
        return bool(group.items) and group.head() == (rank, place)

    def _first_group(self) -> _Group[Item] | None:
        while self._heap:
            if self._is_true(self._heap[0]):
                return self._heap[0][3]
            heapq.heappop(self._heap)
        return None
