"""What a worker prints, divided among its tasks.

The bytes of a stream are numbered from the worker's first. A task's are those from where the one before ended up to
where it says that it ended itself. Bytes that were read are `recent` until everything has been heard that the worker
said before it printed them; then they belong to the task that runs.
"""

from __future__ import annotations

from typing import Final, NamedTuple

Piece = tuple[int, bytes]
"""A stream, 1 or 2, and bytes printed to it."""

_HEAD_SHARE: Final = 4


class Kept:
    """The beginning and the end of what was printed to one stream."""

    def __init__(self, bytes_max: int) -> None:
        self._head_max = bytes_max // _HEAD_SHARE
        self._tail_max = bytes_max - self._head_max
        self._head = bytearray()
        self._tail = bytearray()
        self._dropped = 0

    def add(self, data: bytes) -> None:
        room = self._head_max - len(self._head)
        self._head += data[:room]
        self._tail += data[room:] if room else data
        if (excess := len(self._tail) - self._tail_max) > 0:
            del self._tail[:excess]
            self._dropped += excess

    def take(self) -> bytes:
        """All of it, from which now on nothing is known."""
        head, tail = bytes(self._head), bytes(self._tail)
        if self._dropped:
            tail = self._noted(tail)
        self._head.clear()
        self._tail.clear()
        self._dropped = 0
        return head + tail

    def _noted(self, tail: bytes) -> bytes:
        widest = len(_note(self._dropped + self._tail_max))
        shown = tail[widest:]
        return _note(self._dropped + len(tail) - len(shown)) + shown


def _note(count: int) -> bytes:
    return f"\n[potluck: {count} bytes of output are left out here]\n".encode()


class Ended(NamedTuple):
    """The output of a task that has ended."""

    stdout: bytes
    stderr: bytes
    rest: tuple[Piece, ...]
    """What of it was still to be sent."""


_SILENT: Final = Ended(b"", b"", ())


class Printed:
    """Both streams of one worker."""

    def __init__(self, bytes_max: int) -> None:
        self._settled = [0, 0]
        """How far the output is known to belong to a task."""
        self._recent = bytearray(), bytearray()
        self._kept = Kept(bytes_max), Kept(bytes_max)
        self._pending: list[Piece] = []
        self._silent = True
        self.pending_bytes = 0

    def read(self, stream: int, data: bytes) -> None:
        self._recent[stream - 1].extend(data)
        self._silent = False

    def position(self, stream: int) -> int:
        return self._settled[stream - 1] + len(self._recent[stream - 1])

    @property
    def ends(self) -> tuple[int, int]:
        """How far both have been read."""
        return self.position(1), self.position(2)

    @property
    def has_recent(self) -> bool:
        return any(self._recent)

    def settle(self, stdout_end: int, stderr_end: int) -> None:
        """Up to there nothing ended before the recent bytes were printed."""
        for stream, end in ((1, stdout_end), (2, stderr_end)):
            self._take(stream, max(0, end - self._settled[stream - 1]))

    def pending(self) -> tuple[Piece, ...]:
        """What has settled since this was asked last."""
        pending, self._pending, self.pending_bytes = self._pending, [], 0
        return tuple(pending)

    def end(self, stdout_end: int, stderr_end: int) -> Ended:
        """The running task has ended with that many bytes printed, of which all that arrived has been read."""
        if self._silent:
            return _SILENT
        for stream, end in ((1, stdout_end), (2, stderr_end)):
            self._take(stream, max(0, end - self._settled[stream - 1]))
        self._silent = not any(self._recent)
        return Ended(self._kept[0].take(), self._kept[1].take(), self.pending())

    def _take(self, stream: int, size_bytes: int) -> None:
        recent = self._recent[stream - 1]
        data = bytes(recent[:size_bytes])
        if not data:
            return
        del recent[:size_bytes]
        self._settled[stream - 1] += len(data)
        self._kept[stream - 1].add(data)
        self._pending.append((stream, data))
        self.pending_bytes += len(data)
