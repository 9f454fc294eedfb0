"""What waits of a job, by program and kind.

Groups that ask the same of nodes, and as much of it at once, stand in one line, in the order in which they began to
wait. While nobody has room for the first of a line, nobody has for the others: so to place tasks costs what can be
placed, and thousands of programs that wait cost nothing.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable, Iterable, Iterator

from .bales import Bale, Row
from .task import Task

Group = tuple[bytes, str]
"""Program and kind."""


class Line:
    """Groups that ask the same."""

    def __init__(self) -> None:
        self.groups: OrderedDict[Group, None] = OrderedDict()
        self.unplaceable = False
        """Nobody may run them."""

    @property
    def first(self) -> Group:
        return next(iter(self.groups))


class Queue:
    """Every group in it has tasks."""

    def __init__(self, loose: dict[int, Task], ask: Callable[[Group], Hashable]) -> None:
        """`loose`: where tasks are entered that come out of a bale. `ask`: what a group asks of nodes by now."""
        self.unplaceable_since_s: dict[Group, float] = {}
        """Of groups that nobody could run when nodes were last looked for."""
        self._loose = loose
        self._ask = ask
        self._rows: dict[Group, Row] = {}
        self._with_bales: dict[Group, Row] = {}
        self._lines: dict[Hashable, Line] = {}
        self._asks: dict[Group, Hashable] = {}
        self._places: dict[Group, int] = {}
        """A group with a lower number waits for longer, or is to go first."""
        self._last = 0
        self._first = 0

    def __bool__(self) -> bool:
        return bool(self._rows)

    def items(self) -> Iterable[tuple[Group, Row]]:
        return self._rows.items()

    def count(self, group: Group) -> int:
        row = self._rows.get(group)
        return 0 if row is None else len(row)

    def append(self, group: Group, task: Task) -> None:
        self._row(group).append(task)

    def appendleft(self, group: Group, task: Task) -> None:
        """Before all others of its line, where no other of its group waits."""
        self._row(group, first=True).appendleft(task)

    def put_up(self, group: Group, bale: Bale) -> None:
        row = self._with_bales[group] = self._row(group)
        row.put_up(bale)

    def take(self, group: Group, count: int) -> list[Task]:
        """The first of them, out of the queue."""
        row = self._rows[group]
        tasks = [row.popleft() for _ in range(count)]
        self._tidy(group, row)
        return tasks

    def discard(self, group: Group, task: Task) -> None:
        row = self._rows.get(group)
        if row is not None:
            row.discard(task)
            self._tidy(group, row)

    def pop(self, group: Group) -> list[Task]:
        """All of a group, out of the queue."""
        row = self._rows.get(group)
        if row is None:
            return []
        tasks = list(row)
        self._remove(group)
        return tasks

    @property
    def count_baled(self) -> int:
        return sum(row.count_baled for row in self._with_bales.values())

    def baled(self) -> Iterator[range]:
        """Indexes of those in bales."""
        for row in self._with_bales.values():
            yield from row.baled()

    def loosen(self, indexes: Collection[int]) -> None:
        """Those of them that are in bales are tasks then."""
        for group, row in list(self._with_bales.items()):
            row.loosen(indexes)
            self._tidy(group, row)

    # Lines

    def next_line(self, full: Collection[Line]) -> Line | None:
        """Whose first group waits for longest, but for those that are `full`."""
        lines = [line for line in self._lines.values() if line not in full]
        return min(lines, key=lambda line: self._places[line.first], default=None)

    def asks_anew(self, group: Group | None = None) -> None:
        """What it asks may be another thing by now; None: of all of them."""
        for one in [group] if group is not None else list(self._rows):
            if one in self._rows and self._ask(one) != self._asks[one]:
                self._leave_line(one)
                self._enter_line(one)

    def note_unplaceable(self, line: Line, now_s: float) -> None:
        line.unplaceable = True
        for order in (line.groups, reversed(line.groups)):  # those that were noted before stand together
            for group in order:
                if group in self.unplaceable_since_s:
                    break
                self.unplaceable_since_s[group] = now_s

    def note_placeable(self, line: Line) -> None:
        if line.unplaceable:
            line.unplaceable = False
            for group in line.groups:
                self.unplaceable_since_s.pop(group, None)

    def check(self) -> None:
        """Every invariant."""
        assert all(map(len, self._rows.values()))
        assert self._rows.keys() == self._asks.keys() == self._places.keys()
        assert sorted(self._rows) == sorted(group for line in self._lines.values() for group in line.groups)
        assert all(group in self._lines[ask].groups for group, ask in self._asks.items())
        assert all(line.groups for line in self._lines.values())
        assert {group for group, row in self._rows.items() if row.count_baled} <= self._with_bales.keys()
        assert self._with_bales.keys() | self.unplaceable_since_s.keys() <= self._rows.keys()

    def _row(self, group: Group, *, first: bool = False) -> Row:
        row = self._rows.get(group)
        if row is None:
            row = self._rows[group] = Row(self._loose)
            if first:
                self._first -= 1
            else:
                self._last += 1
            self._places[group] = self._first if first else self._last
            self._enter_line(group)
        return row

    def _enter_line(self, group: Group) -> None:
        ask = self._asks[group] = self._ask(group)
        line = self._lines.setdefault(ask, Line())
        goes_first = bool(line.groups) and self._places[group] < self._places[line.first]
        line.groups[group] = None
        if goes_first:
            line.groups.move_to_end(group, last=False)

    def _leave_line(self, group: Group) -> None:
        ask = self._asks.pop(group)
        line = self._lines[ask]
        del line.groups[group]
        if not line.groups:
            del self._lines[ask]
        self.unplaceable_since_s.pop(group, None)

    def _tidy(self, group: Group, row: Row) -> None:
        if not row:
            self._remove(group)
        elif not row.count_baled:
            self._with_bales.pop(group, None)

    def _remove(self, group: Group) -> None:
        self._leave_line(group)
        del self._rows[group], self._places[group]
        self._with_bales.pop(group, None)
