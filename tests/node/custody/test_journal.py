"""Logs of a job at masters and deputies, against rows of (epoch, content) that nobody has to reason about."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from potluck.node.custody.journal import Journal, Log, common, is_sound, take
from potluck.overlay.wire.joblog import DEPUTIES_MAX, Era

Row = list[tuple[int, int]]
"""Entries as (epoch, content)."""
NODES = [bytes([number]) * 20 for number in range(5)]


def log_of(epochs: list[int], epoch: int) -> Log:
    """Entries by the epochs under which they were written; the last may have written none yet."""
    eras: list[Era] = []
    for first, one in enumerate(epochs):
        if not eras or eras[-1].epoch != one:
            eras.append(Era(one, first))
    if not eras or eras[-1].epoch < epoch:
        eras.append(Era(epoch, len(epochs)))
    return Log(tuple(eras), len(epochs))


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[int], list[int]]:
    """Two logs as successions make them: equal for a while, then each under epochs of its own."""
    shared = sorted(draw(st.lists(st.integers(1, 4), max_size=6)))
    above = max(shared, default=0)
    one = sorted(draw(st.lists(st.sampled_from(range(above + 1, above + 9, 2)), max_size=5)))
    other = sorted(draw(st.lists(st.sampled_from(range(above + 2, above + 10, 2)), max_size=5)))
    return shared + one, shared + other


@given(histories())
def test_the_common_part_ends_where_the_epochs_differ(pair: tuple[list[int], list[int]]) -> None:
    one, other = pair
    naive = 0
    while naive < min(len(one), len(other)) and one[naive] == other[naive]:
        naive += 1
    assert common(log_of(one, 20), log_of(other, 20)) == naive
    assert common(log_of(other, 20), log_of(one, 20)) == naive


@given(histories(), st.data())
def test_a_deputy_that_takes_entries_has_a_prefix_of_the_masters_log(
    pair: tuple[list[int], list[int]], data: st.DataObject
) -> None:
    mine, theirs = pair
    own, master = log_of(mine, 0), log_of(theirs, 20)
    first = data.draw(st.integers(0, len(theirs)))
    count = data.draw(st.integers(0, len(theirs) - first))
    taken = take(own, master, first, count)
    assert taken is not None
    after = mine[: taken.keep] + theirs[first : first + count][taken.skip :][: taken.log.length - taken.keep]
    assert after == theirs[: taken.log.length]
    assert is_sound(taken.log) and taken.log.epoch == 20
    assert common(taken.log, master) == taken.log.length
    if first <= taken.keep:
        assert taken.log.length == max(taken.keep, first + count)


def test_an_earlier_epoch_is_not_obeyed() -> None:
    assert take(log_of([1], 3), log_of([1, 2], 2), 1, 1) is None


def test_a_new_master_names_nobody_who_lacks_what_those_before_may_have_shown() -> None:
    journal = Journal(log_of([1, 1, 1], 0).begun(2))
    journal.acknowledged(NODES[1], 2)
    assert not journal.is_ready(NODES[1])
    journal.acknowledged(NODES[1], 3)
    assert journal.is_ready(NODES[1])


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=4), st.integers(0, 6))
def test_what_no_master_writes_is_not_sound(eras: list[tuple[int, int]], length: int) -> None:
    log = Log(tuple(Era(*era) for era in eras), length)
    rises = all(one[0] < other[0] and one[1] <= other[1] for one, other in pairwise(eras))
    assert is_sound(log) == bool(eras and eras[0][1] == 0 and rises and eras[-1][1] <= length)


class Successions(RuleBasedStateMachine):
    """A job's masters and deputies, who crash, are cut off, come back and succeed each other as the seat allows.

    The seat is what a register makes of it: one value, changed by one at a time. What was ever shown is compared with
    every later log: nothing may be missing, nothing may differ.
    """

    @initialize()
    def begin(self) -> None:
        self.rows: dict[bytes, Row] = {node: [] for node in NODES}
        self.logs: dict[bytes, Log] = {node: Log() for node in NODES}
        self.shown: Row = []
        self.content = 0
        self.journals: dict[bytes, Journal] = {}
        """Of everyone who believes to be master."""
        self.seat: tuple[bytes, int, tuple[bytes, ...]] = (NODES[0], 1, tuple(NODES[1:3]))
        self.believed: dict[bytes, tuple[int, tuple[bytes, ...]]] = {}
        self._become_master(NODES[0], 1, tuple(NODES[1:3]))

    def _become_master(self, node: bytes, epoch: int, deputies: tuple[bytes, ...]) -> None:
        self.logs[node] = self.logs[node].begun(epoch)
        journal = self.journals[node] = Journal(self.logs[node])
        journal.name_deputies(deputies)
        self.believed[node] = epoch, deputies

    @rule(data=st.data(), count=st.integers(1, 3))
    def a_master_appends(self, data: st.DataObject, count: int) -> None:
        if self.journals:
            node = data.draw(st.sampled_from(sorted(self.journals)))
            for _ in range(count):
                self.content += 1
                self.rows[node].append((self.believed[node][0], self.content))
            self.journals[node].appended(count)
            self.journals[node].on_disk(self.journals[node].log.length)
            self.logs[node] = self.journals[node].log
            self._note(node)

    @rule(data=st.data(), deputy=st.sampled_from(NODES), count=st.integers(0, 4))
    def a_deputy_is_told(self, data: st.DataObject, deputy: bytes, count: int) -> None:
        if not self.journals:
            return
        master = data.draw(st.sampled_from(sorted(self.journals)))
        if deputy == master:
            return
        journal, rows = self.journals[master], self.rows[master]
        held = journal.held_by(deputy)
        first = journal.synced if held is None else held
        entries = rows[first : first + count]
        if deputy in self.journals:
            if self.believed[deputy][0] >= journal.log.epoch or self.seat[0] != master:
                if self.believed[deputy][0] > journal.log.epoch:
                    self._outranked(master)
                return
            self._outranked(deputy)
        taken = take(self.logs[deputy], journal.log, first, len(entries))
        if taken is None:
            self._outranked(master)
            return
        fresh = entries[taken.skip :][: taken.log.length - taken.keep]
        self.rows[deputy] = self.rows[deputy][: taken.keep] + fresh
        self.logs[deputy] = taken.log
        journal.acknowledged(deputy, taken.log.length)
        self._note(master)

    def _outranked(self, master: bytes) -> None:
        del self.journals[master], self.believed[master]

    @rule(data=st.data(), deputies=st.lists(st.sampled_from(NODES), max_size=DEPUTIES_MAX, unique=True))
    def a_master_names_other_deputies(self, data: st.DataObject, deputies: list[bytes]) -> None:
        if not self.journals:
            return
        master = data.draw(st.sampled_from(sorted(self.journals)))
        journal, (epoch, named) = self.journals[master], self.believed[master]
        chosen = tuple(one for one in deputies if one != master and (one in named or journal.is_ready(one)))
        journal.name_deputies({*named, *chosen})
        if self.seat[:2] != (master, epoch):
            self._outranked(master)
            return
        self.seat = master, epoch, chosen
        self.believed[master] = epoch, chosen
        journal.name_deputies(chosen)
        self._note(master)

    @rule(data=st.data())
    def a_master_crashes(self, data: st.DataObject) -> None:
        if self.journals:
            self._outranked(data.draw(st.sampled_from(sorted(self.journals))))

    @precondition(lambda self: True)
    @rule(data=st.data())
    def somebody_succeeds(self, data: st.DataObject) -> None:
        master, epoch, deputies = self.seat
        by = data.draw(st.sampled_from([master, *deputies]))
        if by not in self.journals:
            others = tuple(one for one in deputies if one != by)
            self.seat = by, epoch + 1, others
            self._become_master(by, epoch + 1, others)

    def _note(self, master: bytes) -> None:
        """What it has shown is what has been shown ever, or more."""
        told = self.rows[master][: self.journals[master].shown]
        shorter = min(len(told), len(self.shown))
        assert told[:shorter] == self.shown[:shorter], "two masters have shown different things"
        self.shown = max(self.shown, told, key=len)

    @invariant()
    def whoever_may_succeed_has_everything_that_was_shown(self) -> None:
        if hasattr(self, "seat"):
            master, _, deputies = self.seat
            for node in (master, *deputies):
                assert self.rows[node][: len(self.shown)] == self.shown


Successions.TestCase.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestSuccessions = Successions.TestCase
