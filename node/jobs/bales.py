"""Tasks that wait behind many others lie as they came in, put up in bales.

A task that can be placed any moment is an object of some three hundred bytes. Behind so many that the next ones are far
off, tasks that came together are a *bale*, their encoding, of some forty bytes a task, and become tasks when their turn
comes or somebody asks for one of them. What holds: a row hands out the same tasks in the same order as a plain queue
of tasks would.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from ...overlay.wire.control import TaskSpec
from .task import Task

_specs: Final = msgspec.msgpack.Decoder(list[TaskSpec])


class Bale:
    """Tasks of one program and kind, whose indexes follow one another."""

    __slots__ = ("data", "indexes", "program")

    def __init__(self, program: bytes, specs: Sequence[TaskSpec]) -> None:
        self.program = program
        self.indexes = range(specs[0].index, specs[0].index + len(specs))
        self.data = msgspec.msgpack.encode(specs)

    def tasks(self) -> Iterator[Task]:
        for spec in _specs.decode(self.data):
            yield Task(self.program, spec)


def fits_a_bale(specs: Sequence[TaskSpec]) -> bool:
    first = specs[0]
    return all(spec.index == index and spec.kind == first.kind for index, spec in enumerate(specs, first.index))


class Row:
    """Tasks of one program and kind that wait, in order. Those that come out of a bale are entered in `loose`."""

    def __init__(self, loose: dict[int, Task]) -> None:
        self._loose = loose
        self._waiting: OrderedDict[int, Task | Bale] = OrderedDict()
        """By index, of a bale its first: so that to take any of them out costs the same."""
        self._baled = 0
        """Tasks in bales."""
        self._bales = 0

    def __len__(self) -> int:
        return len(self._waiting) - self._bales + self._baled

    def __iter__(self) -> Iterator[Task]:
        for each in self._waiting.values():
            if isinstance(each, Bale):
                yield from each.tasks()
            else:
                yield each

    def append(self, task: Task) -> None:
        self._waiting[task.index] = task

    def appendleft(self, task: Task) -> None:
        self._waiting[task.index] = task
        self._waiting.move_to_end(task.index, last=False)

    def put_up(self, bale: Bale) -> None:
        self._waiting[bale.indexes[0]] = bale
        self._bales += 1
        self._baled += len(bale.indexes)

    def popleft(self) -> Task:
        _, first = self._waiting.popitem(last=False)
        if not isinstance(first, Bale):
            return first
        for task in reversed(self._open(first)):
            self.appendleft(task)
        return self.popleft()

    def discard(self, task: Task) -> None:
        if self._waiting.get(task.index) is task:
            del self._waiting[task.index]

    @property
    def count_baled(self) -> int:
        return self._baled

    def baled(self) -> Iterator[range]:
        """Indexes of those in bales."""
        if self._bales:
            yield from (each.indexes for each in self._waiting.values() if isinstance(each, Bale))

    def loosen(self, indexes: Iterable[int]) -> None:
        """Those of them that are in bales are tasks then, each with all of its bale."""
        if not self._bales:
            return
        wanted = set(indexes)
        waiting: OrderedDict[int, Task | Bale] = OrderedDict()
        for first, each in self._waiting.items():
            if isinstance(each, Bale) and not wanted.isdisjoint(each.indexes):
                waiting.update((task.index, task) for task in self._open(each))
            else:
                waiting[first] = each
        self._waiting = waiting

    def _open(self, bale: Bale) -> list[Task]:
        tasks = list(bale.tasks())
        self._bales -= 1
        self._baled -= len(tasks)
        for task in tasks:
            self._loose[task.index] = task
        return tasks
