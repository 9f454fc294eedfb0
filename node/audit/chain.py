"""The chain of entries: growing it, and finding the first that was changed.

What must hold: of a log whose head somebody kept, no entry up to there can be edited, taken out, put elsewhere or cut
off without `Checker` saying so, whether or not the digests after it were computed anew.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ...overlay.errors import RemoteProtocolError
from ...overlay.wire.audit import START, Entry, Head, Run, digest_of, encode, entry_in


class Chain:
    """The end of a log, to which entries are put."""

    def __init__(self, number: int = 0, digest: bytes = START) -> None:
        self.number = number
        self.digest = digest

    def grow(self, at_s: float, owner: bytes, master: bytes, job: str, program: bytes, runs: list[Run]) -> bytes:
        """The next entry, as it is encoded."""
        self.number += 1
        entry = encode(Entry(self.number, self.digest, at_s, owner, master, job, program, runs))
        self.digest = digest_of(entry)
        return entry


class Broken(msgspec.Struct, frozen=True):
    """The first entry that is not as it was is `first`, or any up to `last`, where others keep no head in between."""

    first: int
    last: int
    why: str


class Checker:
    """Takes a log entry by entry. `heads` are those that others keep, with the right signature."""

    def __init__(self, heads: Iterable[Head]) -> None:
        self._heads = sorted(heads, key=lambda head: head.number)
        self._next_head = 0
        self._sure_to = 0
        """The last entry known to be as it was."""
        self._digest = START
        self.number = 0
        self.broken: Broken | None = None

    def begin(self, first: int, previous: bytes) -> None:
        """The log is shown from this entry on; older ones have been let go, and heads of theirs say nothing more."""
        self.number, self._digest, self._sure_to = first - 1, previous, first - 1
        while self._next_head < len(self._heads) and self._heads[self._next_head].number < self.number:
            self._next_head += 1
        self._compare()

    def take(self, encoded: bytes) -> Entry | None:
        """None where nothing can be read from it."""
        expected = self.number + 1
        try:
            entry = entry_in(encoded)
        except RemoteProtocolError:
            self._break(expected, expected, "it cannot be read")
            return None
        if entry.number != expected:
            self._break(expected, expected, f"entry {entry.number} stands in its place")
        elif entry.previous != self._digest:
            self._break(max(1, expected - 1), expected - 1, "the next one was written after another")
        self.number, self._digest = expected, digest_of(encoded)
        self._compare()
        return entry

    def end(self) -> None:
        for head in self._heads[self._next_head :]:
            if head.number > self.number:
                self._break(self._sure_to + 1, self.number + 1, f"the log once had {head.number} entries")
                return

    def _compare(self) -> None:
        while self._next_head < len(self._heads) and self._heads[self._next_head].number == self.number:
            head = self._heads[self._next_head]
            self._next_head += 1
            if head.digest != self._digest:
                self._break(self._sure_to + 1, self.number, "it is not what its node once signed")
                return
        self._sure_to = self.number if self._is_confirmed() else self._sure_to

    def _is_confirmed(self) -> bool:
        at = self._next_head - 1
        return at >= 0 and self._heads[at].number == self.number and self._heads[at].digest == self._digest

    def _break(self, first: int, last: int, why: str) -> None:
        if self.broken is None or first < self.broken.first:
            self.broken = Broken(first, max(first, last), why)
