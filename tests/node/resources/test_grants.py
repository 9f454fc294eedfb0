"""Memory and devices against a naive reading, in every order of asking and ending."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from potluck.node.resources.grants import Grants, Wish
from potluck.overlay.wire.needs import Needs

BYTES, GPUS, PURSE_BYTES = 10, 3, 6


class GrantsThroughTime(RuleBasedStateMachine):
    """The model: a line of wishes, gone through from its head whenever something has changed."""

    def __init__(self) -> None:
        super().__init__()
        self.grants = Grants(BYTES, GPUS, PURSE_BYTES)
        self.line: list[tuple[int, int, Needs]] = []
        self.held: dict[int, Needs] = {}
        self.purses: dict[int, bytes] = {}
        self.last = 0

    @rule(
        rank=st.integers(-1, 1),
        size=st.integers(0, BYTES),
        gpus=st.integers(0, GPUS),
        purse=st.sampled_from([b"", b"", b"one", b"two"]),
    )
    def asks(self, rank: int, size: int, gpus: int, purse: bytes) -> None:
        self.last += 1
        needs = Needs(memory_bytes=min(size, PURSE_BYTES) if purse else size, gpus=gpus)
        self.purses[self.last] = purse
        self.grants.ask(self.last, Wish(rank, needs, lambda: [2, 7], purse))
        self.line.append((rank, self.last, needs))
        self.line.sort(key=lambda one: one[:2])
        self._admit()

    @precondition(lambda self: self.held or self.line)
    @rule(data=st.data())
    def ends(self, data: st.DataObject) -> None:
        number = data.draw(st.sampled_from([*self.held, *(number for _, number, _ in self.line), 10**6]))
        self.grants.release(number)
        self.held.pop(number, None)
        self.line = [one for one in self.line if one[1] != number]
        self._admit()

    def _admit(self) -> None:
        expected = []
        awaited: set[str] = set()
        empty: set[bytes] = set()
        for rank, number, needs in list(self.line):
            purse = self.purses[number]
            spent = sum(self.held[one].memory_bytes for one in self.held if self.purses[one] == purse)
            if purse and (purse in empty or spent + needs.memory_bytes > PURSE_BYTES):
                empty.add(purse)
                continue
            kinds = {name for name, wanted in (("bytes", needs.memory_bytes), ("gpus", needs.gpus)) if wanted}
            free = BYTES - self._sum("memory_bytes") >= needs.memory_bytes and GPUS - self._sum("gpus") >= needs.gpus
            if free and not kinds & awaited:
                self.line.remove((rank, number, needs))
                self.held[number] = needs
                expected.append(number)
            else:
                awaited |= kinds
        assert list(self.grants.granted()) == expected

    def _sum(self, what: str) -> int:
        return sum(getattr(needs, what) for needs in self.held.values())

    @invariant()
    def nothing_is_had_twice(self) -> None:
        had = {number: self.grants.held_by(number) for number in self.held}
        gpus = [gpu for grant in had.values() if grant for gpu in grant.gpus]
        assert len(gpus) == len(set(gpus)) == self._sum("gpus") == GPUS - self.grants.free_gpus
        assert self.grants.free_bytes == BYTES - self._sum("memory_bytes") >= 0
        assert all(grant and len(grant.gpus) == self.held[number].gpus for number, grant in had.items())
        assert all(self.grants.asks(number) for _, number, _ in self.line)

    @invariant()
    def whoever_is_first_waits_only_for_what_is_held(self) -> None:
        """So that it has what it asks for once they have ended."""
        for _, number, _needs in self.line:
            assert not self.grants.cannot_be(number, ())
        first = self.line[0][1] if self.line else 0
        if self.line and not self.purses[first]:
            assert self.grants.cannot_be(first, self.held)

    @invariant()
    def nobody_spends_more_than_its_purse(self) -> None:
        for purse in (b"one", b"two"):
            assert sum(self.held[one].memory_bytes for one in self.held if self.purses[one] == purse) <= PURSE_BYTES


TestGrantsThroughTime = GrantsThroughTime.TestCase


def test_who_has_a_device_open_already_gets_that_one() -> None:
    grants = Grants(0, 3)
    grants.ask(1, Wish(0, Needs(gpus=1), lambda: [2]))
    grants.ask(2, Wish(0, Needs(gpus=1), lambda: [2]))
    assert list(grants.granted()) == [1, 2]
    assert [grant.gpus for number in (1, 2) if (grant := grants.held_by(number))] == [(2,), (0,)]
