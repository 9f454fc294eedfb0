"""What every policy must keep, whoever wrote it: nothing is lost, nothing comes twice, and `peek` tells the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from potluck.node.scheduling.catalogue import make
from potluck.node.scheduling.policy import Policy


@dataclass(eq=False)
class Item:
    key: int
    priority: int = 0
    submitter: str = "a"
    function: str = "f"
    estimate_s: float | None = None


class PolicySuite(RuleBasedStateMachine):
    """`spec` names the policy."""

    spec = "fcfs"

    @initialize()
    def begin(self) -> None:
        self.policy: Policy[Any] = make(self.spec)
        self.now_s = 0.0
        self.ready: dict[int, Item] = {}
        self.running: dict[int, Item] = {}
        self.blocked: dict[int, Item] = {}
        self.keys = 0

    @rule(
        priority=st.integers(-2, 2),
        submitter=st.sampled_from("abc"),
        function=st.sampled_from("fgh"),
        estimate_s=st.none() | st.floats(0, 5),
    )
    def add(self, priority: int, submitter: str, function: str, estimate_s: float | None) -> None:
        self.keys += 1
        item = self.ready[self.keys] = Item(self.keys, priority, submitter, function, estimate_s)
        self.policy.add(self.now_s, item)

    @rule(later_s=st.floats(0, 3))
    def wait(self, later_s: float) -> None:
        self.now_s += later_s

    @rule()
    def pick(self) -> None:
        item = self.policy.pick(self.now_s)
        assert (item is None) == (not self.ready)
        if item is not None:
            assert self.ready.pop(item.key) is item
            assert self.policy.slice_s(item) > 0
            self.running[item.key] = item

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def put_back(self, data: st.DataObject) -> None:
        item = self._some(data, self.running)
        self.policy.put_back(item)
        self.ready[item.key] = item

    @precondition(lambda self: self.running)
    @rule(data=st.data(), ran_s=st.floats(0, 3), how=st.sampled_from(["preempted", "blocked", "ended", "killed"]))
    def stop(self, data: st.DataObject, ran_s: float, how: str) -> None:
        self._tell(self._some(data, self.running), ran_s, how)

    def _tell(self, item: Item, ran_s: float, how: str) -> None:
        if how == "preempted":
            self.policy.preempted(self.now_s, item, min(ran_s, self.policy.slice_s(item)))
            self.ready[item.key] = item
        elif how == "blocked":
            self.policy.blocked(self.now_s, item, ran_s)
            self.blocked[item.key] = item
        else:
            self.policy.ended(self.now_s, item, ran_s, completed=how == "ended")

    @rule(ran_s=st.floats(0, 3), how=st.sampled_from(["preempted", "blocked", "ended"]))
    def another_policy_has_picked_it(self, ran_s: float, how: str) -> None:
        self.keys += 1
        item = self.running[self.keys] = Item(self.keys)
        assert self.policy.slice_s(item) > 0
        self._tell(self.running.pop(self.keys), ran_s, how)

    @precondition(lambda self: self.blocked)
    @rule(data=st.data(), comes_back=st.booleans())
    def unblock(self, data: st.DataObject, comes_back: bool) -> None:
        item = self._some(data, self.blocked)
        if comes_back:
            self.policy.add(self.now_s, item)
            self.ready[item.key] = item
        else:
            self.policy.ended(self.now_s, item, 0.0, completed=False)

    @rule(key=st.integers(1, 20))
    def remove(self, key: int) -> None:
        assert self.policy.remove(key) is self.ready.pop(key, None)

    @invariant()
    def what_stops_anything_chooses(self) -> None:
        assert self.policy.chooses or not self.policy.preempts

    @invariant()
    def what_stops_nothing_says_so(self) -> None:
        if not self.policy.preempts:
            for item in self.ready.values():
                assert self.policy.slice_s(item) == math.inf
                assert self.policy.rank(item, 0.0) == self.policy.rank(item, 1.0) == 0

    @invariant()
    def counts_agree(self) -> None:
        assert len(self.policy) == len(self.ready)
        assert sum(self.policy.lengths()) == len(self.ready)
        assert len(self.policy.lengths()) <= 16

    @invariant()
    def what_comes_next_is_what_is_picked_and_ranks_lowest(self) -> None:
        head = self.policy.peek(self.now_s)
        assert (head is None) == (not self.ready)
        if head is None:
            return
        ranks = [self.policy.rank(item, 0.0) for item in self.ready.values()]
        assert self.policy.rank(head, 0.0) == min(ranks), "or it could push away what is better"
        assert self.policy.pick(self.now_s) is head
        self.policy.put_back(head)
        assert self.policy.peek(self.now_s) is head

    def _some(self, data: st.DataObject, items: dict[int, Item]) -> Item:
        return items.pop(data.draw(st.sampled_from(sorted(items))))
