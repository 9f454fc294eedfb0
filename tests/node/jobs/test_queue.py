"""What waits of a job: a queue against a list, and what thousands of programs that wait cost."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.jobs import placing
from potluck.node.jobs.bales import Bale
from potluck.node.jobs.effects import Assign
from potluck.node.jobs.master import Master
from potluck.node.jobs.placement import Requirements, Worker
from potluck.node.jobs.queue import Group, Queue
from potluck.node.jobs.task import Task
from potluck.overlay.config import Jobs
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import Inline, Program

from .masters import IDS, report_of, worker

GROUPS: list[Group] = [(bytes([number]), kind) for number in range(4) for kind in ("", "a")]


class Against(RuleBasedStateMachine):
    """A queue that is one list of groups, in order, each with its tasks."""

    def __init__(self) -> None:
        super().__init__()
        self.asks = dict.fromkeys(GROUPS, 0)
        self.loose: dict[int, Task] = {}
        self.queue = Queue(self.loose, self.asks.__getitem__)
        self.order: list[Group] = []
        self.waiting: dict[Group, list[int]] = {group: [] for group in GROUPS}
        self.unplaceable_since_s: dict[Group, float] = {}
        self.last = 0
        self.now_s = 0.0

    def task(self, group: Group) -> Task:
        self.last += 1
        task = self.loose[self.last] = Task(group[0], TaskSpec(self.last, Inline(b""), group[1]))
        return task

    @rule(group=st.sampled_from(GROUPS), first=st.booleans())
    def add(self, group: Group, first: bool) -> None:
        task = self.task(group)
        if not self.waiting[group]:
            self.order.insert(0 if first else len(self.order), group)
        if first:
            self.queue.appendleft(group, task)
            self.waiting[group].insert(0, task.index)
        else:
            self.queue.append(group, task)
            self.waiting[group].append(task.index)

    @precondition(lambda self: self.order)
    @rule(data=st.data(), count=st.integers(1, 4))
    def put_up(self, data: st.DataObject, count: int) -> None:
        group = data.draw(st.sampled_from(self.order))
        specs = [TaskSpec(self.last + 1 + number, Inline(b""), group[1]) for number in range(count)]
        self.last += count
        self.queue.put_up(group, Bale(group[0], specs))
        self.waiting[group] += [spec.index for spec in specs]

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def take(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.order))
        count = data.draw(st.integers(0, len(self.waiting[group])))
        assert [task.index for task in self.queue.take(group, count)] == self.waiting[group][:count]
        del self.waiting[group][:count]
        self.forget_empty()

    @precondition(lambda self: self.order)
    @rule(data=st.data())
    def discard(self, data: st.DataObject) -> None:
        group = data.draw(st.sampled_from(self.order))
        index = data.draw(st.sampled_from(self.waiting[group]))
        self.queue.loosen([index])
        self.queue.discard(group, self.loose[index])
        self.waiting[group].remove(index)
        self.forget_empty()

    @rule(group=st.sampled_from(GROUPS))
    def pop(self, group: Group) -> None:
        assert [task.index for task in self.queue.pop(group)] == self.waiting[group]
        self.waiting[group] = []
        self.forget_empty()

    def forget_empty(self) -> None:
        self.order = [group for group in self.order if self.waiting[group]]
        self.unplaceable_since_s = {one: at_s for one, at_s in self.unplaceable_since_s.items() if self.waiting[one]}

    @rule(group=st.sampled_from(GROUPS), ask=st.integers(0, 2))
    def ask_anew(self, group: Group, ask: int) -> None:
        if self.asks[group] != ask:
            self.unplaceable_since_s.pop(group, None)
        self.asks[group] = ask
        self.queue.asks_anew(group)

    @rule(ask=st.integers(0, 2), placeable=st.booleans())
    def look(self, ask: int, placeable: bool) -> None:
        """For nodes that could run what asks this."""
        self.now_s += 1.0
        line = next((one for one in self.lines() if self.asks[one.first] == ask), None)
        if line is None:
            return
        for group in self.order:
            if self.asks[group] == ask and placeable:
                self.unplaceable_since_s.pop(group, None)
            elif self.asks[group] == ask:
                self.unplaceable_since_s.setdefault(group, self.now_s)
        if placeable:
            self.queue.note_placeable(line)
        else:
            self.queue.note_unplaceable(line, self.now_s)

    def lines(self) -> list[placing.Line]:
        found: list[placing.Line] = []
        while (line := self.queue.next_line(found)) is not None:
            found.append(line)
        return found

    @invariant()
    def it_holds_what_the_list_holds(self) -> None:
        self.queue.check()
        assert {group: [task.index for task in row] for group, row in self.queue.items()} == {
            group: indexes for group, indexes in self.waiting.items() if indexes
        }
        assert bool(self.queue) == bool(self.order)
        assert self.queue.unplaceable_since_s == self.unplaceable_since_s

    @invariant()
    def whoever_waits_longest_is_first(self) -> None:
        """Of all; and of every line, unless what somebody in it asks has changed meanwhile."""
        lines = self.lines()
        assert sorted(group for line in lines for group in line.groups) == sorted(self.order)
        assert all(len({self.asks[group] for group in line.groups}) == 1 for line in lines)
        places = [self.order.index(line.first) for line in lines]
        assert places == sorted(places)


TestQueue = Against.TestCase
TestQueue.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("programs", [50, 400])
def test_a_program_costs_the_same_however_many_wait(monkeypatch: pytest.MonkeyPatch, programs: int) -> None:
    looked = 0
    candidates = placing.candidates

    def counted(workers: Mapping[bytes, Worker], needs: Requirements) -> list[Worker]:
        nonlocal looked
        looked += 1
        return candidates(workers, needs)  # type: ignore[arg-type]

    monkeypatch.setattr(placing, "candidates", counted)
    master = Master(Jobs(), "3.11", random.Random(1))
    master.worker_up(0.0, worker(IDS[0]))
    master.open("job", JobOptions())
    given: list[Assign] = []
    for number in range(programs):
        program = Program(number.to_bytes(32, "big"), "callable", body=Inline(b"body"))
        effects = master.submit(0.0, "job", program, [TaskSpec(number, Inline(b""))])
        given += [effect for effect in effects if isinstance(effect, Assign)]
    ended = []
    while given:
        instruction = given.pop(0).assignment.instructions[0]
        ended.append(instruction.index)
        effects = master.confirmed(0.0, IDS[0], "job", 1, [report_of("ok", instruction.index, 0, 1.0)])
        given += [effect for effect in effects if isinstance(effect, Assign)]
        master.check()
    assert ended == list(range(programs)), "first come, first served"
    assert looked < 4 * programs
