"""CPUs against a naive reading, in every order of running and stopping."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from potluck.node.resources.slots import Slots


class SlotsThroughTime(RuleBasedStateMachine):
    @initialize(count=st.integers(1, 6), cores=st.sets(st.integers(0, 9), min_size=1, max_size=6))
    def begins(self, count: int, cores: set[int]) -> None:
        self.count, self.cores = count, cores
        self.slots = Slots(count, cores)
        self.running: dict[int, tuple[int, tuple[int, ...]]] = {}
        self.last = 0

    @rule(cpus=st.integers(0, 7), before=st.lists(st.integers(0, 9), unique=True, max_size=3))
    def runs(self, cpus: int, before: list[int]) -> None:
        taken = sum(max(1, wanted) for wanted, _ in self.running.values())
        had = {core for _, cores in self.running.values() for core in cores}
        fits = taken + max(1, cpus) <= self.count and cpus <= len(self.cores - had)
        assert self.slots.fit(cpus) == fits
        assert self.slots.could_ever_fit(cpus) == (cpus <= min(self.count, len(self.cores)))
        if not fits:
            return
        self.last += 1
        place = self.slots.take(self.last, cpus, before)
        assert len(place.cores) == cpus and set(place.cores) <= self.cores - had
        free_before = [core for core in before if core in self.cores - had]
        assert set(place.cores) & set(before) == set(free_before[:cpus]), "it goes on where it was, if it can"
        self.running[self.last] = cpus, place.cores

    @precondition(lambda self: self.running)
    @rule(data=st.data())
    def stops(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(sorted(self.running)))
        self.slots.give_back(holder)
        del self.running[holder]

    @invariant()
    def no_more_is_taken_than_there_is(self) -> None:
        if hasattr(self, "slots"):
            taken = sum(max(1, cpus) for cpus, _ in self.running.values())
            assert self.slots.taken == taken <= self.count
            assert self.slots.are_left == (taken < self.count)
            cores = [core for _, held in self.running.values() for core in held]
            assert len(cores) == len(set(cores))


TestSlotsThroughTime = SlotsThroughTime.TestCase
