"""Whom to dial, and when again."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from potluck.discovery.sightings import ADDRESSES_MAX, Candidates
from potluck.overlay.config import Discovery
from potluck.overlay.ports import Address

CONFIG = Discovery(handshakes_at_once=3, retry_base_s=0.5, retry_max_s=4.0)
ADDRESSES = [Address("10.0.0.1", port) for port in range(1, 9)]


class CandidatesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.candidates = Candidates(CONFIG)
        self.now_s = 0.0
        self.lasting: set[Address] = set()
        self.dialling: set[Address] = set()
        self.linked: set[Address] = set()
        self.failures: dict[Address, int] = {}
        self.not_before_s: dict[Address, float] = {}

    @rule(address=st.sampled_from(ADDRESSES), lasting=st.booleans())
    def sighted(self, address: Address, lasting: bool) -> None:
        self.candidates.sighted(self.now_s, address, lasting=lasting)
        if lasting:
            self.lasting.add(address)

    @rule(seconds=st.floats(0, 5))
    def time_passes(self, seconds: float) -> None:
        self.now_s += seconds

    @rule(address=st.sampled_from(ADDRESSES))
    def links_change(self, address: Address) -> None:
        self.linked ^= {address}

    @rule()
    def due(self) -> None:
        next_s = self.candidates.next_due_s(self.linked.__contains__)
        due = self.candidates.due(self.now_s, self.linked.__contains__)
        assert bool(due) == (next_s is not None and next_s <= self.now_s)
        assert not set(due) & (self.dialling | self.linked)
        assert all(self.now_s >= self.not_before_s.get(address, 0.0) for address in due)
        self.dialling |= set(due)

    @rule(data=st.data())
    def fails(self, data: st.DataObject) -> None:
        if not self.dialling:
            return
        address = data.draw(st.sampled_from(sorted(self.dialling)))
        self.dialling.discard(address)
        size = len(self.candidates)
        self.candidates.failed(self.now_s, address)
        if len(self.candidates) < size:
            self.failures.pop(address, None)
            self.not_before_s.pop(address, None)
            return
        failures = self.failures[address] = self.failures.get(address, 0) + 1
        pause_s = min(CONFIG.retry_base_s * 2 ** (failures - 1), CONFIG.retry_max_s)
        self.not_before_s[address] = self.now_s + pause_s

    @rule()
    def it_moves(self) -> None:
        """From elsewhere everybody is worth another try at once."""
        self.candidates.moved(self.now_s)
        self.failures.clear()
        self.not_before_s.clear()

    @rule(data=st.data())
    def succeeds(self, data: st.DataObject) -> None:
        if self.dialling:
            address = data.draw(st.sampled_from(sorted(self.dialling)))
            self.dialling.discard(address)
            self.candidates.succeeded(self.now_s, address)
            self.failures.pop(address, None)
            self.not_before_s.pop(address, None)

    @rule()
    def the_lasting_are_dialled_again_in_the_end(self) -> None:
        self.now_s += CONFIG.retry_max_s
        left = self.lasting - self.dialling - self.linked
        for _ in range(len(ADDRESSES)):
            for address in self.candidates.due(self.now_s, self.linked.__contains__):
                left.discard(address)
                self.candidates.succeeded(self.now_s, address)
                self.failures.pop(address, None)
                self.not_before_s.pop(address, None)
            if len(self.dialling) == CONFIG.handshakes_at_once:
                return
        assert not left

    @invariant()
    def handshakes_are_bounded(self) -> None:
        assert len(self.dialling) <= CONFIG.handshakes_at_once
        assert len(self.candidates) >= len(self.lasting)


TestCandidates = CandidatesMachine.TestCase


def nobody(address: Address) -> bool:
    return False


def test_a_flood_of_sightings_fills_the_table_and_nothing_more_and_leaves_room_for_what_the_user_gave() -> None:
    candidates = Candidates(CONFIG)
    for n in range(10_000):
        candidates.sighted(0.0, Address(f"10.1.{n // 250}.{n % 250}", 9000))
    assert len(candidates) == ADDRESSES_MAX
    given_by_user = Address("192.168.1.2", 9000)
    candidates.sighted(0.0, given_by_user, lasting=True)
    dialled: list[Address] = []
    while due := candidates.due(1000.0, nobody):
        dialled += due
        for address in due:
            candidates.succeeded(1000.0, address)
    assert given_by_user in dialled


@given(failures=st.integers(1, 20))
def test_pauses_grow_and_a_hint_that_fails_on_is_forgotten_until_seen_again(failures: int) -> None:
    candidates, address = Candidates(CONFIG), ADDRESSES[0]
    candidates.sighted(0.0, address)
    now_s, pauses = 0.0, []
    for _ in range(failures):
        next_s = candidates.next_due_s(nobody)
        if next_s is None:
            break
        pauses.append(next_s - now_s)
        now_s = next_s
        assert candidates.due(now_s, nobody) == [address]
        candidates.failed(now_s, address)
    assert pauses == sorted(pauses)
    assert pauses[0] == 0.0
    assert max(pauses) <= CONFIG.retry_max_s
    if failures > 10:
        assert len(candidates) == 0
        candidates.sighted(now_s, address)
        assert candidates.due(now_s, nobody) == [address]
