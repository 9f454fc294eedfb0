"""The engines of registers against messages that are lost, doubled and reordered, and nodes that die."""

from __future__ import annotations

import re
from collections.abc import Collection

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from potluck.overlay.errors import Conflict, LimitExceeded, QuotaExceeded, Unavailable
from potluck.overlay.registers import acceptor as acceptors
from potluck.overlay.registers import quorums
from potluck.overlay.registers.acceptor import NEVER, Acceptor
from potluck.overlay.registers.changes import (
    ENTRIES_OF_ONE_OWNER_MAX,
    ROOT,
    ContentStep,
    Directory,
    Entry,
    directory_for,
    directory_of,
    enter,
    founding_id,
    report,
)
from potluck.overlay.registers.quorums import is_quorum, members, moved, settled
from potluck.overlay.wire.registers import RECENT_MAX, Accept, Applied, Ballot, Configuration, Prepare, State
from potluck.simulations import agreement
from potluck.simulations.agreement import GROUP, Campaign, Group
from potluck.simulations.entropy import named_stream
from potluck.simulations.linearizability import Operation

NODES = [bytes([number]) * 20 for number in range(7)]
SOME = st.lists(st.sampled_from(NODES), unique=True, min_size=1)
FIRST = Configuration(2, NODES[:3])
EMPTY = State(FIRST)


# Quorums


@given(SOME, SOME, st.integers(2, 9))
def test_two_quorums_always_meet(one: list[bytes], other: list[bytes], number: int) -> None:
    configuration = Configuration(number, NODES[:5])
    if is_quorum(configuration, one) and is_quorum(configuration, other):
        assert set(one) & set(other)


@given(SOME, SOME, SOME, SOME)
def test_quorums_meet_across_a_change_of_acceptors(
    before: list[bytes], after: list[bytes], one: list[bytes], other: list[bytes]
) -> None:
    first = Configuration(4, before)
    change = moved(first, after)
    done = settled(change)
    for earlier, later in ((first, change), (change, done), (change, change)):
        if is_quorum(earlier, one) and is_quorum(later, other):
            assert set(one) & set(other)
    assert set(members(change)) == set(before) | set(after)


@given(SOME, SOME)
def test_a_founding_needs_everyone(founders: list[bytes], answered: list[bytes]) -> None:
    founding = Configuration(quorums.FOUNDERS, founders)
    everyone = set(founders) <= set(answered)
    assert is_quorum(founding, answered) == everyone
    assert is_quorum(moved(founding, founders[:1]), answered) == everyone


def test_of_two_foundings_the_one_by_more_stands() -> None:
    assert founding_id(5, b"z" * 7) < founding_id(1, b"a" * 7)
    assert len(founding_id(100_000, b"a" * 7)) == 8


# Acceptors

BALLOTS = st.builds(Ballot, st.integers(1, 5), st.sampled_from([b"a", b"b"]))


@given(st.lists(st.tuples(st.booleans(), BALLOTS), max_size=20))
def test_an_acceptor_keeps_its_promises_and_forgets_nothing_at_a_restart(
    asked: list[tuple[bool, Ballot]],
) -> None:
    acceptor, disk = Acceptor(), {}
    highest = Ballot()
    for is_prepare, ballot in asked:
        if is_prepare:
            answer, write = acceptor.prepare(Prepare(1, b"f", b"r", ballot))
        else:
            answer, write = acceptor.accept(Accept(1, b"f", b"r", ballot, EMPTY))
        assert (answer.promised == ballot) == (ballot >= highest)
        highest = max(highest, ballot)
        if write is not None:
            disk[write[0]] = write[1]
        acceptor = Acceptor()
        acceptor.load(disk.items())


@given(
    st.lists(st.tuples(st.sampled_from([b"r", b"s", b"t"]), BALLOTS), min_size=1, max_size=12),
    st.lists(st.tuples(st.integers(0, 2), st.booleans(), st.integers(0, 10_000)), min_size=1, max_size=4),
)
def test_an_acceptor_whose_disk_has_garbled_anything_breaks_no_promise(
    asked: list[tuple[bytes, Ballot]], flips: list[tuple[int, bool, int]]
) -> None:
    """Bits flip in keys and in values; entries may end up in the place of others."""
    before, disk = Acceptor(), {}
    for name, ballot in asked:
        _, write = before.accept(Accept(1, b"f", name, ballot, EMPTY))
        if write is not None:
            disk[write[0]] = write[1]
    for number, in_key, bit in flips:
        key = sorted(disk)[number % len(disk)]
        garbled = [bytearray(key), bytearray(disk.pop(key))]
        one = garbled[0 if in_key else 1]
        one[bit // 8 % len(one)] ^= 1 << bit % 8
        disk[bytes(garbled[0])] = bytes(garbled[1])
    after = Acceptor()
    after.load(disk.items())
    for name in (b"r", b"s", b"t"):
        probe = Prepare(1, b"f", name, Ballot(9, b"z"))
        promise, _ = after.prepare(probe)
        if promise.promised == probe.ballot:
            sound = before.prepare(probe)[0]
            assert (promise.accepted, promise.state) == (sound.accepted, sound.state)
        else:
            assert promise.promised == NEVER
            assert after.doubts(b"f", name)
            assert after.accept(Accept(1, b"f", name, probe.ballot, EMPTY))[1] is None


def test_a_garbled_entry_is_known_at_every_start_until_it_is_restored() -> None:
    before, disk = Acceptor(), {}
    for name in (b"r", b"s"):
        _, write = before.accept(Accept(1, b"f", name, Ballot(3, b"a"), EMPTY))
        assert write is not None
        disk[write[0]] = write[1]
    disk[b"fr"] = disk[b"fr"][:-1]
    for _ in range(2):
        after = Acceptor()
        assert after.load(disk.items()) == 1
        assert after.doubts(b"f", b"r") and after.doubts(b"f", b"never heard of") and not after.doubts(b"f", b"s")
    key, written = after.restored(b"f", b"r", Ballot(5, b"b"), EMPTY)
    disk[key] = written
    assert not after.doubts(b"f", b"r") and not after.doubts(b"f", b"never heard of")
    after = Acceptor()
    assert after.load(disk.items()) == 0
    assert after.prepare(Prepare(1, b"f", b"r", Ballot(4, b"z")))[0].promised == Ballot(5, b"b")


def test_one_owner_makes_an_acceptor_keep_only_so_many_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(acceptors, "NAMES_OF_ONE_OWNER_MAX", 3)
    acceptor, disk = Acceptor(), {}
    for number in range(5):
        promise, write = acceptor.prepare(Prepare(1, b"f", b"%d" % number, Ballot(1, b"a")), b"one")
        assert (promise.promised == NEVER) == (write is None) == (number >= 3)
        if write is not None:
            disk[write[0]] = write[1]
    acceptor = Acceptor()
    acceptor.load(disk.items())
    assert acceptor.prepare(Prepare(1, b"f", b"9", Ballot(1, b"a")), b"one")[1] is None
    assert acceptor.prepare(Prepare(1, b"f", b"1", Ballot(2, b"a")), b"one")[1] is not None
    assert acceptor.prepare(Prepare(1, b"f", b"9", Ballot(1, b"a")), b"other")[1] is not None


def test_registers_of_two_foundings_do_not_mix() -> None:
    acceptor = Acceptor()
    acceptor.accept(Accept(1, b"f", b"r", Ballot(1, b"a"), EMPTY))
    promise, _ = acceptor.prepare(Prepare(1, b"g", b"r", Ballot(1, b"b")))
    assert promise.accepted is None


# Changes


def test_a_change_found_in_the_state_is_not_made_again() -> None:
    step = ContentStep(b"token", lambda content: ((content or b"") + b"x", len(content or b"")))
    once, answer = step(EMPTY, Ballot(1, b"a"))
    again, same = step(once, Ballot(2, b"a"))
    assert (once.content, answer) == (b"x", 0)
    assert (again, same) == (once, 0)


def test_a_change_that_may_have_scrolled_away_is_in_doubt() -> None:
    step = ContentStep(b"token", lambda content: ((content or b"") + b"x", None))
    step(EMPTY, Ballot(1, b"a"))
    others = [Applied(b"other", number) for number in range(RECENT_MAX)]
    _, answer = step(State(FIRST, RECENT_MAX + 1, b"y", others), Ballot(2, b"a"))
    assert isinstance(answer, Unavailable)
    _, answer = step(State(FIRST, RECENT_MAX, b"y", others), Ballot(2, b"a"))
    assert answer is None, "it would still be seen"


def test_an_attempt_that_was_never_made_is_not_believed() -> None:
    step = ContentStep(b"token", lambda content: ((content or b"") + b"x", "answer"))
    state, _ = step(EMPTY, Ballot(1, b"a"))
    lied = msgspec.structs.replace(state, recent=[Applied(b"token", 2)])
    again, answer = step(lied, Ballot(3, b"a"))
    assert again is lied
    assert isinstance(answer, Unavailable)


def test_an_error_of_a_change_is_its_answer_and_changes_nothing() -> None:
    def refuse(content: bytes | None) -> tuple[bytes | None, None]:
        raise Conflict("no")

    state, answer = ContentStep(b"token", refuse)(EMPTY, Ballot(1, b"a"))
    assert state is EMPTY
    assert isinstance(answer, Conflict)


def test_a_directory_keeps_the_first_entry_and_follows_what_is_reported() -> None:
    first, second = Entry(2, NODES[:3]), Entry(2, NODES[2:5])
    content, answer = enter(b"name", first)(None)
    assert answer == first
    assert enter(b"name", second)(content) == (content, first)
    content, _ = report(b"name", Entry(4, NODES[2:5]))(content)
    assert enter(b"name", first)(content)[1] == Entry(4, NODES[2:5])
    assert report(b"name", Entry(3, NODES[:3]))(content)[0] == content
    assert len(directory_of(content).entries) == 1


def test_a_directory_that_is_full_says_so() -> None:
    content: bytes | None = None
    with pytest.raises(LimitExceeded):
        for number in range(100_000):
            entry = Entry(2, NODES[:5] * 3, number.to_bytes(20, "big"))
            content, _ = enter(b"name %d" % number, entry)(_grown(content, number))


def test_one_owner_does_not_fill_a_directory() -> None:
    many = {number.to_bytes(16, "big"): Entry(2, NODES[:5], NODES[0]) for number in range(ENTRIES_OF_ONE_OWNER_MAX)}
    full = msgspec.msgpack.encode(Directory(b"", many))
    with pytest.raises(QuotaExceeded):
        enter(b"name", Entry(2, NODES[:5], NODES[0]))(full)
    content, _ = enter(b"name", Entry(2, NODES[:5], NODES[1]))(full)
    moved_on, _ = report(b"name", Entry(4, NODES[2:5], NODES[2]))(content)
    _, present = enter(b"name", Entry(2, NODES[:5], NODES[0]))(moved_on)
    assert present == Entry(4, NODES[2:5], NODES[1]), "what is there is found, and stays its owner's"


def _grown(content: bytes | None, number: int) -> bytes | None:
    """Filled in leaps: one by one would take long."""
    if number != 3:
        return content
    entries = {number.to_bytes(16, "big"): Entry(2, NODES[:5]) for number in range(8_500)}
    return msgspec.msgpack.encode(type(directory_of(None))(b"", entries))


@given(st.binary(min_size=1, max_size=40))
def test_every_register_stands_in_a_directory_and_directories_in_the_root(name: bytes) -> None:
    directory = directory_for(b"mem\0" + name)
    assert directory != ROOT
    assert directory_for(directory) == ROOT


# Everything together


class Agreement(RuleBasedStateMachine):
    """Hypothesis decides what happens next, and shrinks what goes wrong."""

    def __init__(self) -> None:
        super().__init__()
        self.group = Group(b"register", 3)
        self.calls = 0

    def busy(self) -> bool:
        return bool(self.group.under_way)

    @precondition(lambda self: len(self.group.running) < 4)
    @rule(node=st.integers(0, GROUP - 1), kind=st.integers(0, 2), expected=st.none() | st.integers(0, 5))
    def call(self, node: int, kind: int, expected: int | None) -> None:
        self.calls += 1
        operation = [
            Operation("read", 0),
            Operation("add", 0, amount=1),
            Operation("compare_and_set", 0, expected=expected, new=100 * self.calls),
        ][kind]
        self.group.call(self.group.nodes[node], operation)

    @rule(node=st.integers(0, GROUP - 1), acceptors=st.sets(st.integers(0, GROUP - 1), min_size=1, max_size=5))
    def move(self, node: int, acceptors: set[int]) -> None:
        self.group.move(self.group.nodes[node], [self.group.nodes[number] for number in sorted(acceptors)])

    @rule(node=st.integers(0, GROUP - 1))
    def settle(self, node: int) -> None:
        self.group.settle(self.group.nodes[node])

    @precondition(busy)
    @rule(place=st.integers(0, 200), twice=st.booleans())
    def deliver(self, place: int, twice: bool) -> None:
        self.group.deliver(place % len(self.group.under_way), keep=twice)

    @precondition(busy)
    @rule()
    def deliver_all(self) -> None:
        for _ in range(len(self.group.under_way)):
            self.group.deliver(0)

    @precondition(busy)
    @rule(place=st.integers(0, 200))
    def lose(self, place: int) -> None:
        self.group.lose(place % len(self.group.under_way))

    @rule(node=st.integers(0, GROUP - 1))
    def flush(self, node: int) -> None:
        self.group.flush(self.group.nodes[node])

    @rule()
    def flush_all(self) -> None:
        for node in self.group.nodes:
            self.group.flush(node)

    @precondition(lambda self: sum(not one.returned for one in self.group.history) < 4)
    @rule(node=st.integers(0, GROUP - 1))
    def crash(self, node: int) -> None:
        self.group.crash(self.group.nodes[node])

    @rule(side=st.sets(st.integers(0, GROUP - 1), min_size=1, max_size=2), one_way=st.booleans())
    def part(self, side: set[int], one_way: bool) -> None:
        self.group.part([self.group.nodes[number] for number in side], one_way=one_way)

    @rule()
    def heal(self) -> None:
        self.group.heal()

    @rule(node=st.integers(0, GROUP - 1))
    def pause(self, node: int) -> None:
        self.group.pause(self.group.nodes[node])

    @rule(node=st.integers(0, GROUP - 1))
    def resume(self, node: int) -> None:
        self.group.resume(self.group.nodes[node])

    @rule()
    def try_again(self) -> None:
        for number, running in list(self.group.running.items()):
            if running.waiting:
                self.group.again(number)

    def teardown(self) -> None:
        """Everything that is under way comes through; a last read sees what was chosen, and all must fit."""
        self.group.heal()
        for node in self.group.nodes:
            self.group.resume(node)
        self.group.call(self.group.nodes[0], Operation("read", 0))
        for _ in range(300):
            if not self.group.running:
                break
            while self.group.under_way:
                self.group.deliver(0)
            for node in self.group.nodes:
                self.group.flush(node)
            waiting = [number for number, running in self.group.running.items() if running.waiting]
            if waiting and not self.group.under_way:
                self.group.again(waiting[0])
        assert not self.group.verdict()


Agreement.TestCase.settings = settings(deadline=None)
TestAgreement = Agreement.TestCase


@pytest.mark.parametrize("seed", range(3))
def test_a_campaign_finds_no_fault(seed: int) -> None:
    checks, figures = agreement.play(1, seed)
    assert all(check.held for check in checks), checks
    assert figures["operations"] >= 1000
    assert figures["crashes"] and figures["configurations"] and figures["partitions"] and figures["pauses"]
    assert figures["called_in_smaller_part"]


def test_acceptors_that_forget_a_promise_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The campaign has teeth."""
    monkeypatch.setattr(Acceptor, "load", lambda self, entries: None)
    assert _finds_a_fault()


def test_quorums_that_do_not_meet_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("potluck.overlay.registers.proposer.is_quorum", lambda configuration, answered: bool(answered))
    assert _finds_a_fault()


def test_a_minority_that_answers_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def half(configuration: Configuration, answered: Collection[bytes]) -> bool:
        return 3 * sum(one in answered for one in configuration.acceptors) >= len(configuration.acceptors)

    monkeypatch.setattr("potluck.overlay.registers.proposer.is_quorum", half)
    assert _finds_a_fault(r"\d of \d acceptors have answered")
    assert _finds_a_fault("both sides of a partition have answered")


def _finds_a_fault(wanted: str = "") -> bool:
    for number in range(300):
        campaign = Campaign(b"r", named_stream(number, "teeth"))
        campaign.run(40)
        if any(re.search(wanted, fault) for fault in campaign.group.verdict()):
            return True
    return False


@pytest.mark.nightly
@pytest.mark.timeout(3600)
def test_a_million_operations_find_no_fault() -> None:
    checks, _ = agreement.play(1000, 7)
    assert all(check.held for check in checks), checks
