"""Engine: what the tasks of lasting jobs have printed lately, for whoever looks.

    a piece comes                    it is kept; nobody is waited for
    one that was kept comes again    known by its position on its node, it is dropped
    a job has printed too much       its oldest pieces go; so do those of the job that was silent longest, when all
                                     of them together are too much
    more jobs have printed than are kept   the one that was silent longest is forgotten
    a node begins to count anew      so do we

Readers go by the bytes that the job had printed before, from the first that this master has heard of: whoever reads on
where he was told to is given every later piece once, in the order in which they came, or how many bytes he has missed.
"""

from __future__ import annotations

from collections import deque
from typing import Final, NamedTuple

from ...overlay.ids import NodeId
from ...overlay.wire.questions import PrintedPiece
from ...overlay.wire.streams import TaskOutput

JOB_BYTES_MAX: Final = 256 << 10
BYTES_MAX: Final = 16 << 20
JOBS_MAX: Final = 4096
_PIECE_BYTES: Final = 200
"""What a piece takes beside its data, counted so that many small ones are bounded, too."""


class Read(NamedTuple):
    pieces: list[PrintedPiece]
    more: int
    """Where to read on."""
    missed_bytes: int
    """Printed since, and not kept."""


class _Tail:
    """Of one job."""

    def __init__(self) -> None:
        self.pieces: deque[PrintedPiece] = deque()
        self.begin = 0
        """Of the first piece that is kept."""
        self.end = 0
        self.had: dict[NodeId, tuple[int, int]] = {}
        """By node: when it began to count, and how much has come since."""

    @property
    def size_bytes(self) -> int:
        return self.end - self.begin + _PIECE_BYTES * len(self.pieces)

    def drop_first(self) -> None:
        self.begin += len(self.pieces.popleft().data)


class Live:
    def __init__(self, job_bytes_max: int = JOB_BYTES_MAX, bytes_max: int = BYTES_MAX) -> None:
        self._job_bytes_max = job_bytes_max
        self._bytes_max = bytes_max
        self._tails: dict[str, _Tail] = {}
        """The one that was silent longest first."""
        self._size_bytes = 0

    def take(self, source: NodeId, name: str, said: TaskOutput) -> None:
        """`name` is that of the node `source`, on which the task runs."""
        tail = self._tails.pop(said.job, None) or _Tail()
        self._tails[said.job] = tail
        begun, had = tail.had.get(source, (said.begun, 0))
        had = had if begun == said.begun else 0
        fresh = said.data[max(0, had - said.position) :]
        tail.had[source] = said.begun, max(had, said.position + len(said.data))
        if fresh:
            self._size_bytes -= tail.size_bytes
            position = max(had, said.position)
            tail.pieces.append(PrintedPiece(said.index, said.attempt, name, said.stream, fresh, position, said.begun))
            tail.end += len(fresh)
            while tail.size_bytes > self._job_bytes_max:
                tail.drop_first()
            self._size_bytes += tail.size_bytes
        self._make_room()

    def read(self, job: str, first: int) -> Read:
        tail = self._tails.get(job)
        if tail is None:
            return Read([], 0, 0)
        pieces: list[PrintedPiece] = []
        position = tail.begin
        for piece in tail.pieces:
            if position >= first:
                pieces.append(piece)
            position += len(piece.data)
        return Read(pieces, tail.end, max(0, tail.begin - first))

    def _make_room(self) -> None:
        while len(self._tails) > JOBS_MAX:
            self._size_bytes -= self._tails.pop(next(iter(self._tails))).size_bytes
        for tail in list(self._tails.values()):
            if self._size_bytes <= self._bytes_max:
                return
            self._size_bytes -= tail.size_bytes
            while tail.pieces:
                tail.drop_first()

    def check(self) -> None:
        """Every invariant."""
        assert self._size_bytes == sum(tail.size_bytes for tail in self._tails.values()) <= self._bytes_max
        for tail in self._tails.values():
            assert tail.end - tail.begin == sum(len(piece.data) for piece in tail.pieces)
            assert tail.size_bytes <= self._job_bytes_max
