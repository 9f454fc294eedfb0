"""Tasks that tasks have submitted come before all others, the deepest first: a wrapper around any policy.

Who has submitted them stands waiting, with a process and its memory. Deepest first is the order in which one process
alone would go through the tree, so that on a node with S slots no more than S times its depth stand waiting at once
(Blumofe and Leiserson, Space-efficient scheduling of multithreaded computations, 1998); in the order of arrival it
would be as many as the tree is wide. They run in the slots that those who wait have given back.
"""

from __future__ import annotations

import math
from typing import Generic, Protocol, TypeVar

from .policy import Policy, Schedulable
from .queues import Line


class Nestable(Schedulable, Protocol):
    @property
    def depth(self) -> int:
        """0 for what no task has submitted."""


Item = TypeVar("Item", bound=Nestable)


class DeepestFirst(Generic[Item]):
    """A policy. `outermost` orders, stops and learns of what no task has submitted; the others run to their end."""

    def __init__(self, outermost: Policy[Item]) -> None:
        self.outermost = outermost
        self._levels: dict[int, Line[Item]] = {}
        """Of those that are ready, by depth; none is empty."""

    def change(self, now_s: float, outermost: Policy[Item]) -> None:
        """What is ready moves over in the order in which it would have been picked; what runs goes on."""
        while (item := self.outermost.pick(now_s)) is not None:
            outermost.add(now_s, item)
        self.outermost = outermost

    @property
    def name(self) -> str:
        return self.outermost.name

    @property
    def preempts(self) -> bool:
        return self.outermost.preempts

    @property
    def chooses(self) -> bool:
        return self.outermost.chooses

    def add(self, now_s: float, item: Item) -> None:
        if item.depth:
            self._level(item).append(item)
        else:
            self.outermost.add(now_s, item)

    def put_back(self, item: Item) -> None:
        if item.depth:
            self._level(item).put_first(item)
        else:
            self.outermost.put_back(item)

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        if item.depth:
            self._level(item).put_first(item)
        else:
            self.outermost.preempted(now_s, item, ran_s)

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        if not item.depth:
            self.outermost.blocked(now_s, item, ran_s)

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        if not item.depth:
            self.outermost.ended(now_s, item, ran_s, completed=completed)

    def peek(self, now_s: float) -> Item | None:
        return self._levels[max(self._levels)].first() if self._levels else self.outermost.peek(now_s)

    def pick(self, now_s: float) -> Item | None:
        if not self._levels:
            return self.outermost.pick(now_s)
        item = self.peek(now_s)
        return None if item is None else self.remove(item.key)

    def remove(self, key: int) -> Item | None:
        for depth, level in self._levels.items():
            if (item := level.remove(key)) is not None:
                if not len(level):
                    del self._levels[depth]
                return item
        return self.outermost.remove(key)

    def slice_s(self, item: Item) -> float:
        return math.inf if item.depth else self.outermost.slice_s(item)

    def rank(self, item: Item, ran_s: float) -> float:
        """A usual one: they come first where a slot is free, and push nobody away who is as good as any."""
        return 0.0 if item.depth else self.outermost.rank(item, ran_s)

    def lengths(self) -> list[int]:
        return [sum(map(len, self._levels.values())), *self.outermost.lengths()]

    def __len__(self) -> int:
        return sum(map(len, self._levels.values())) + len(self.outermost)

    def _level(self, item: Item) -> Line[Item]:
        return self._levels.setdefault(item.depth, Line())
