"""The output of a job's tasks on its way home.

It goes to the job's master as it is printed, and from there to whoever waits for it, who says how much has been taken.
What has not been taken is kept, and sent again over a new link or to a new master; no more than `WINDOW_BYTES` of it
and what tasks that end have left in their pipes: until there is room nothing more is read, and tasks that print wait.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Final

from ...overlay.ports import OUTPUT_PART_BYTES
from ...overlay.wire.streams import OutputTaken, TaskOutput
from .printed import Piece

WINDOW_BYTES: Final = 128 << 10


class Outgoing:
    """Of one job on one node. Positions count its bytes, whichever task printed them."""

    def __init__(self, job: str, begun: int) -> None:
        """`begun`: a number that no earlier life of this job on this node has had."""
        self._job = job
        self._begun = begun
        self._position = 0
        self._kept: deque[TaskOutput] = deque()

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
            self._kept.popleft()

    def again(self) -> list[TaskOutput]:
        """What may have been lost with a link or a master."""
        return list(self._kept)
