"""The output of a job's tasks on its way home.

It goes to the job's master as it is printed, and from there to whoever waits for it, who says how much has been taken.
What has not been taken is kept, and sent again over a new link; no more than `WINDOW_BYTES` of it and what tasks that
end have left in their pipes: until there is room nothing more is read, and tasks that print wait. Of a job that lasts
the newest that has been taken is kept, too, and another master is told that first, for it died with the one before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import Final

from msgspec import structs

from ...overlay.ports import OUTPUT_PART_BYTES
from ...overlay.wire.streams import OutputTaken, TaskOutput
from .printed import Piece

WINDOW_BYTES: Final = 128 << 10
TAKEN_BYTES: Final = 64 << 10
"""Of what has been taken; for a reader who follows, as much as he is behind when a master dies is enough."""
TAKEN_PARTS_MAX: Final = 512


class Outgoing:
    """Of one job on one node. Positions count its bytes, whichever task printed them."""

    def __init__(self, job: str, begun: int, *, lasting: bool = False) -> None:
        """`begun`: a number that no earlier life of this job on this node has had."""
        self._job = job
        self._begun = begun
        self._lasting = lasting
        self._position = 0
        self._kept: deque[TaskOutput] = deque()
        self._taken: deque[TaskOutput] = deque()
        self.is_unsaid = False
        """To another master, who has to be told before he can take anything."""

    @property
    def room(self) -> bool:
        return not self._kept or self._position - self._kept[0].position < WINDOW_BYTES

    def send(self, index: int, attempt: int, pieces: Iterable[Piece]) -> list[TaskOutput]:
        sent = []
        for stream, data in pieces:
            for start in range(0, len(data), OUTPUT_PART_BYTES):
                part = data[start : start + OUTPUT_PART_BYTES]
                sent.append(TaskOutput(self._job, self._position, index, attempt, stream, part, self._begun))
                self._position += len(part)
        self._kept += sent
        return sent

    def taken(self, taken: OutputTaken) -> None:
        position = taken.position if taken.begun == self._begun else 0
        while self._kept and self._kept[0].position + len(self._kept[0].data) <= position:
            part = self._kept.popleft()
            if self._lasting:
                self._taken.append(part)
        while self._taken and (
            len(self._taken) > TAKEN_PARTS_MAX or self._taken[-1].position - self._taken[0].position >= TAKEN_BYTES
        ):
            self._taken.popleft()

    def again(self) -> list[TaskOutput]:
        """What may have been lost with a link, or with a master."""
        self.is_unsaid = False
        return list(self._kept)

    def begin_anew(self, attempts: Mapping[int, int]) -> None:
        """Another master has taken nothing yet, and counts attempts from nothing. `attempts`: those of the tasks that
        it may take over, by the count of the one before."""
        parts = [part for part in (*self._taken, *self._kept) if attempts.get(part.index) == part.attempt]
        self._kept = deque(structs.replace(part, attempt=0) for part in parts)
        self._taken.clear()
        self.is_unsaid = bool(self._kept)
