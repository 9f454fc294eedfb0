"""How far tasks have come, in the log of a job that lasts: of each its last checkpoint, and of the others the place.

An entry with a newer one names the entry that it makes needless. Whoever keeps the log takes the state out of that: a
deputy when it has the newer one, the master when all have. So a job that runs for days keeps one state for each task
that has no outcome, and none for the others. A deputy whose log is cut back behind the newer one has no state for that
task: then it begins anew, which is allowed, and rare.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from ...overlay.wire.joblog import Came, decode_entry, encode_entry
from ..jobs.effects import Note


class Milestones:
    """Of one job, at its master."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}
        """By index of task, the entry that has its last checkpoint."""

    def resume(self, last: Mapping[int, int]) -> None:
        """What the log of an earlier master holds."""
        self._last = dict(last)

    def entry(self, note: Note, number: int) -> Came:
        """To stand at that place in the log."""
        if note.checkpoint is None:
            return Came(note.index, note.suspended)
        replaces = self._last.get(note.index, 0)
        self._last[note.index] = number
        return Came(note.index, note.suspended, note.checkpoint, replaces)

    def ended(self, indexes: Iterable[int]) -> list[Came]:
        """That these need none any more."""
        return [Came(index, replaces=self._last.pop(index)) for index in indexes if index in self._last]


def stripped(data: bytes) -> bytes:
    """An entry without its checkpoint, if it has one."""
    entry = decode_entry(data)
    has_one = isinstance(entry, Came) and entry.checkpoint is not None
    return encode_entry(msgspec.structs.replace(entry, checkpoint=None)) if has_one else data
