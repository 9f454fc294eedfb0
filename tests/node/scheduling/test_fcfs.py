"""First come, first served against a list."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.node.scheduling.fcfs import FirstCome


@dataclass(frozen=True)
class Waiting:
    key: int
    priority: int


class FirstComeAgainstAList(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.policy: FirstCome[Waiting] = FirstCome()
        self.model: list[Waiting] = []
        self.picked: list[Waiting] = []
        self.keys = 0

    @rule(priority=st.integers(-5, 5), now_s=st.floats(0, 10))
    def add(self, priority: int, now_s: float) -> None:
        self.keys += 1
        item = Waiting(self.keys, priority)
        self.policy.add(now_s, item)
        self.model.append(item)

    @rule()
    def pick(self) -> None:
        expected = self.model.pop(0) if self.model else None
        assert self.policy.pick() == expected
        if expected is not None:
            self.picked.append(expected)

    @rule()
    def put_back(self) -> None:
        if self.picked:
            item = self.picked.pop()
            self.policy.put_back(item)
            self.model.insert(0, item)

    @rule(key=st.integers(1, 20))
    def remove(self, key: int) -> None:
        expected = next((item for item in self.model if item.key == key), None)
        assert self.policy.remove(key) == expected
        if expected is not None:
            self.model.remove(expected)

    @invariant()
    def agrees(self) -> None:
        assert self.policy.peek() == (self.model[0] if self.model else None)
        assert len(self.policy) == len(self.model)
        assert self.policy.lengths() == [len(self.model)]


TestFirstCome = FirstComeAgainstAList.TestCase
