"""Multi-level feedback queue (Corbató 1962; the rules of Arpaci-Dusseau, Operating Systems: Three Easy Pieces, ch. 8).

1, 2. The highest level that is not empty runs, in turns; what comes there pushes away what runs below.
3.    What is new starts at the top.
4.    Who has used a level's quantum, in however many runs, moves down one level.
5.    Every `aging_ms` all move to the top, so that nothing starves: with n items ready at that moment each runs within
      n of the top level's quanta on one processor, whatever comes, as new ones queue behind.

A rise moves whole lines, so that it costs the same for a hundred thousand items as for one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Generic

import msgspec

from .policy import SLICE_TOLERANCE_S, Item
from .queues import Line


class _Standing(msgspec.Struct):
    """Where an item that has run stands; true until the next rise."""

    rise: int
    level: int = 0
    used_s: float = 0.0


class _Level(Generic[Item]):
    """Lines one behind the other: those that have risen to here, and the one that others join."""

    def __init__(self) -> None:
        self.lines: deque[Line[Item]] = deque([Line()])

    def first_line(self) -> Line[Item]:
        while len(self.lines) > 1 and not self.lines[0]:
            self.lines.popleft()
        return self.lines[0]

    def __len__(self) -> int:
        return sum(map(len, self.lines))


class FeedbackQueue(Generic[Item]):
    name = "mlfq"
    preempts = True
    chooses = True

    def __init__(self, *, time_quanta_ms: Sequence[int] = (100, 200, 400), aging_ms: int = 5000) -> None:
        self._quanta_s = [quantum_ms / 1000 for quantum_ms in time_quanta_ms]
        self._aging_s = aging_ms / 1000
        self._levels: list[_Level[Item]] = [_Level() for _ in time_quanta_ms]
        self._line_of: dict[int, Line[Item]] = {}
        self._standings: dict[Item, _Standing] = {}
        """Of what has run and is not over."""
        self._rises = 0
        self._next_rise_s = -math.inf

    def add(self, now_s: float, item: Item) -> None:
        self._rise_if_due(now_s)
        line = self._levels[self._standing(item).level].lines[-1]
        line.append(item)
        self._line_of[item.key] = line

    def put_back(self, item: Item) -> None:
        line = self._levels[self._standing(item).level].first_line()
        line.put_first(item)
        self._line_of[item.key] = line

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        self._rise_if_due(now_s)
        if self._used_up(item, ran_s):
            self.add(now_s, item)
        else:
            self.put_back(item)

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        self._rise_if_due(now_s)
        self._used_up(item, ran_s)

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        self._standings.pop(item, None)

    def peek(self, now_s: float) -> Item | None:
        self._rise_if_due(now_s)
        line = self._next_line()
        return None if line is None else line.first()

    def pick(self, now_s: float) -> Item | None:
        item = self.peek(now_s)
        if item is not None:
            self._line_of.pop(item.key).remove(item.key)
        return item

    def remove(self, key: int) -> Item | None:
        line = self._line_of.pop(key, None)
        item = None if line is None else line.remove(key)
        if item is not None:
            self._standings.pop(item, None)
        return item

    def slice_s(self, item: Item) -> float:
        standing = self._standing(item)
        return self._quanta_s[standing.level] - standing.used_s

    def rank(self, item: Item, ran_s: float) -> float:
        return self._standing(item).level

    def lengths(self) -> list[int]:
        return [len(level) for level in self._levels]

    def __len__(self) -> int:
        return len(self._line_of)

    def _standing(self, item: Item) -> _Standing:
        standing = self._standings.get(item)
        return standing if standing is not None and standing.rise == self._rises else _Standing(self._rises)

    def _used_up(self, item: Item, ran_s: float) -> bool:
        """Counts what it ran; whether that was the rest of its quantum, and it stands one level lower."""
        standing = self._standings[item] = self._standing(item)
        standing.used_s += ran_s
        if standing.used_s < self._quanta_s[standing.level] - SLICE_TOLERANCE_S:
            return False
        standing.level = min(standing.level + 1, len(self._levels) - 1)
        standing.used_s = 0.0
        return True

    def _rise_if_due(self, now_s: float) -> None:
        if now_s < self._next_rise_s:
            return
        self._next_rise_s = now_s + self._aging_s
        self._rises += 1
        top = self._levels[0].lines
        for level in self._levels[1:]:
            top.extend(line for line in level.lines if line)
            level.lines = deque([Line()])

    def _next_line(self) -> Line[Item] | None:
        return next((line for level in self._levels if (line := level.first_line())), None)
