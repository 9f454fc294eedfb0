"""Engine of one job's log, as its master and its deputies keep it.

A log is a row of entries, each written under the epoch of the master that wrote it. One epoch has one master, which
only appends; deputies copy prefixes. So two logs that have an entry of the same epoch at the same place are equal up to
it (the log matching of Raft: Ongaro and Ousterhout, 2014, §5.3), and a deputy finds by the eras alone how much of its
own log its new master's has, too.

    at the master      appended ─▶ on disk here ─▶ on disk at every deputy that the seat names = shown

What is shown may be told to users, for whoever can succeed the master has it: a deputy is named only once it has
everything that was shown before, and while the seat changes, the deputies of before and after count alike.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from ...overlay.wire.joblog import Era


class Log(NamedTuple):
    """What one log is, without its entries."""

    eras: tuple[Era, ...] = ()
    length: int = 0

    @property
    def epoch(self) -> int:
        return self.eras[-1].epoch if self.eras else 0

    def begun(self, epoch: int) -> Log:
        """Under a new master, who goes on where this log ends."""
        assert epoch > self.epoch
        written = tuple(era for era in self.eras if era.first < self.length)
        return Log((*written, Era(epoch, self.length)), self.length)


def common(one: Log, other: Log) -> int:
    """How many entries from the first on are the same in both."""
    spans = _spans(other)
    shared = 0
    for epoch, (first, end) in _spans(one).items():
        there = spans.get(epoch)
        if there is not None and min(end, there[1]) > max(first, there[0]):
            shared = max(shared, min(end, there[1]))
    return shared


def is_sound(log: Log) -> bool:
    """Whether a master could have sent it: epochs rise, and no era begins before the one before or after the end."""
    pairs = zip(log.eras, log.eras[1:], strict=False)
    rising = all(one.epoch < other.epoch and one.first <= other.first for one, other in pairs)
    return bool(log.eras) and log.eras[0].first == 0 and rising and log.eras[-1].first <= log.length


def _spans(log: Log) -> dict[int, tuple[int, int]]:
    if not log.eras:
        return {}
    ends = [*(era.first for era in log.eras[1:]), log.length]
    return {era.epoch: (era.first, end) for era, end in zip(log.eras, ends, strict=True)}


class Taken(NamedTuple):
    """What a deputy does with entries it was sent."""

    keep: int
    """Entries of its own log that stand; the rest is dropped."""
    skip: int
    """Entries sent that it has."""
    log: Log
    """Afterwards."""


def take(own: Log, theirs: Log, first: int, count: int) -> Taken | None:
    """`theirs` is the whole log of the sender, of which entries `first` to `first + count` have come. None where the
    sender is not the master any more."""
    if theirs.epoch < own.epoch:
        return None
    keep = common(own, theirs)
    end = min(first + count, theirs.length)
    if first > keep:  # some in between are missing: they will be sent
        end = keep
    length = max(keep, end)
    return Taken(keep, max(0, min(keep - first, count)), Log(_eras_for(theirs, length), length))


def _eras_for(theirs: Log, length: int) -> tuple[Era, ...]:
    """The sender's epoch counts from the first word on, even when none of its entries have come yet."""
    past = tuple(era for era in theirs.eras[:-1] if era.first < length)
    return (*past, Era(theirs.epoch, min(theirs.eras[-1].first, length)))


class Journal:
    """The master's side."""

    def __init__(self, log: Log) -> None:
        self.log = log
        self.synced = log.length
        """On disk here."""
        self.shown = 0
        self.seated = True
        """A new job's master has no seat yet, and shows nothing."""
        self._deputies: frozenset[bytes] = frozenset()
        self._held: dict[bytes, int] = {}

    @property
    def deputies(self) -> frozenset[bytes]:
        """Who has to hold what is to be shown."""
        return self._deputies

    def appended(self, count: int) -> None:
        self.log = self.log._replace(length=self.log.length + count)

    def on_disk(self, length: int) -> None:
        self.synced = max(self.synced, length)
        self._show()

    def held_by(self, node_id: bytes) -> int | None:
        """None where it has not said."""
        return self._held.get(node_id)

    def acknowledged(self, node_id: bytes, length: int) -> None:
        self._held[node_id] = min(length, self.log.length)
        self._show()

    def forgotten(self, node_id: bytes) -> None:
        """It may come back with another disk: what it holds is asked anew."""
        self._held.pop(node_id, None)

    def name_deputies(self, deputies: Collection[bytes]) -> None:
        self._deputies = frozenset(deputies)
        self._show()

    def is_ready(self, node_id: bytes) -> bool:
        """Whether it has everything that was shown, by this master or by those before: only then may the seat name
        it."""
        held = self._held.get(node_id)
        return held is not None and held >= max(self.shown, self.log.eras[-1].first)

    def _show(self) -> None:
        if not self.seated:
            return
        held: Sequence[int] = [self.synced, *(self._held.get(node_id, 0) for node_id in self._deputies)]
        self.shown = max(self.shown, min(held))
