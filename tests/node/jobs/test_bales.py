"""Rows of tasks that wait: in bales or not, they are the same row."""

from __future__ import annotations

from collections import deque

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.jobs.bales import Bale, Row, fits_a_bale
from potluck.node.jobs.task import Task
from potluck.overlay.wire.control import TaskSpec
from potluck.overlay.wire.work import Inline

PROGRAM = bytes(32)


def specs_from(first: int, count: int) -> list[TaskSpec]:
    return [TaskSpec(index, Inline(b"%d" % index)) for index in range(first, first + count)]


class Rows(RuleBasedStateMachine):
    """Against a plain queue of indexes. What is loose is in the table, and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.loose: dict[int, Task] = {}
        self.row = Row(self.loose)
        self.plain: deque[int] = deque()
        self.next = 0
        self.out: list[Task] = []

    @rule(count=st.integers(1, 5), baled=st.booleans())
    def come(self, count: int, baled: bool) -> None:
        specs = specs_from(self.next, count)
        self.next += count
        self.plain.extend(spec.index for spec in specs)
        if baled:
            assert fits_a_bale(specs)
            self.row.put_up(Bale(PROGRAM, specs))
            return
        for spec in specs:
            task = self.loose[spec.index] = Task(PROGRAM, spec)
            self.row.append(task)

    @precondition(lambda self: self.plain)
    @rule()
    def be_taken(self) -> None:
        task = self.row.popleft()
        assert task.index == self.plain.popleft()
        assert self.loose[task.index] is task
        assert task.arguments == Inline(b"%d" % task.index)
        self.out.append(task)

    @precondition(lambda self: self.out)
    @rule()
    def come_back_first(self) -> None:
        task = self.out.pop()
        self.row.appendleft(task)
        self.plain.appendleft(task.index)

    @precondition(lambda self: self.plain)
    @rule(data=st.data())
    def be_called_off(self, data: st.DataObject) -> None:
        index = data.draw(st.sampled_from(sorted(self.plain)))
        self.row.loosen([index, self.next + 7])
        self.row.discard(self.loose.pop(index))
        self.plain.remove(index)

    @invariant()
    def it_is_the_same_row(self) -> None:
        assert [task.index for task in self.row] == list(self.plain)
        assert len(self.row) == len(self.plain)
        baled = [index for indexes in self.row.baled() for index in indexes]
        assert self.row.count_baled == len(baled)
        assert not set(baled) & set(self.loose)
        assert set(baled) | set(self.loose) == set(self.plain) | {task.index for task in self.out}


TestRows = Rows.TestCase
TestRows.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)


def test_only_what_follows_one_another_and_is_of_one_kind_goes_into_a_bale() -> None:
    assert fits_a_bale(specs_from(5, 3))
    assert not fits_a_bale([*specs_from(5, 3), *specs_from(9, 1)])
    assert not fits_a_bale([*specs_from(5, 3), TaskSpec(8, Inline(b""), "b")])


class Compared(Task):
    """Counts how often it is looked at to find another."""

    times = 0

    def __eq__(self, other: object) -> bool:
        Compared.times += 1
        return self is other

    def __hash__(self) -> int:
        return self.index


def test_to_take_one_out_does_not_mean_to_look_at_all_before_it() -> None:
    row = Row({})
    tasks = [Compared(PROGRAM, spec) for spec in specs_from(0, 100)]
    for task in tasks:
        row.append(task)
    for task in tasks[1::2]:
        row.discard(task)
        row.discard(task)  # and is not there any more
    assert list(row) == tasks[::2]
    assert Compared.times <= len(tasks)
