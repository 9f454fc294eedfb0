"""What a job's tasks have printed, put together for whoever reads it: pieces of running tasks, and the rest with their
ends.

What holds: of every task that has ended, all that it kept has been told, in order; what has been told of it as it ran
is told once more only where another attempt, or another node, is the one that counts. When another master takes the job
over, a task that runs on is told on: its node counts its bytes, whoever asks for them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain

from ..overlay.wire.questions import PrintedPiece
from .records import OVER, Record

_STREAMS = {1: "stdout", 2: "stderr"}


class Printed:
    """Plain events in, records `{"task", "node", "stdout", "stderr"}` out, each of whole lines."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._over: set[str] = set()
        self._source: dict[int, tuple[str, int]] = {}
        """By task: the node and attempt whose output is told."""
        self._source_before: dict[int, tuple[str, int]] = {}
        """Under the master before."""
        self._node: dict[int, str] = {}
        """By task: the node whose output was told last."""
        self._had: dict[str, tuple[int, int]] = {}
        """By node: when it began to count, and how much of what it has printed has come."""
        self.gap_bytes = 0
        """Printed by nodes between what has come of them, and lost with a master."""
        self._begun: dict[tuple[int, int], bytes] = {}
        """By task and stream: a line that has no end yet."""

    def another_master(self) -> None:
        """Who counts attempts from the beginning, and is told again what nodes have kept: what came is known by its
        position among all that they have printed."""
        self._source_before |= self._source
        self._source.clear()

    def came(self, pieces: Iterable[PrintedPiece]) -> Iterator[Record]:
        for piece in pieces:
            fresh, index, source = self._fresh(piece), piece.index, (piece.node, piece.attempt)
            known = self._source.get(index)
            if known is None or known[1] < piece.attempt:
                if known is not None or self._node.get(index) != piece.node:
                    self._begin(index)
                known, self._node[index] = source, piece.node
                self._source[index] = source
            if known != source or f"{self._job}/{index}" in self._over:
                continue  # a task may run twice at once: one of them is enough to read
            whole, newline, rest = (self._begun.get((index, piece.stream), b"") + fresh).rpartition(b"\n")
            self._begun[index, piece.stream] = rest
            if newline:
                yield self._record(index, piece.node, {piece.stream: whole + newline})

    def ended(self, tasks: Iterable[Record]) -> Iterator[Record]:
        """Those of the tasks that have ended since."""
        for task in tasks:
            if task["state"] not in OVER or task["task"] in self._over:
                continue
            self._over.add(task["task"])
            index = int(task["task"].rpartition("/")[2])
            rest = {stream: self._begun.pop((index, stream), b"") for stream in _STREAMS}
            told = self._source.pop(index, None), self._source_before.pop(index, None)
            if (task["node"], task["attempts"] - 1) in told:
                if any(rest.values()):
                    yield self._record(index, task["node"], rest)
            elif task["stdout"] or task["stderr"]:
                yield {name: task[name] for name in ("task", "node", "stdout", "stderr")}

    def unfinished(self) -> Iterator[Record]:
        """Lines without an end of tasks that go on, for whoever reads no further."""
        for (index, stream), data in self._begun.items():
            if data:
                yield self._record(index, self._source[index][0], {stream: data})

    def _begin(self, index: int) -> None:
        for stream in _STREAMS:
            self._begun.pop((index, stream), None)

    def _fresh(self, piece: PrintedPiece) -> bytes:
        """What of it has not come before."""
        begun, had = self._had.get(piece.node, (piece.begun, piece.position))
        if begun != piece.begun:
            had = piece.position
        self.gap_bytes += max(0, piece.position - had)
        self._had[piece.node] = piece.begun, max(had, piece.position + len(piece.data))
        return piece.data[max(0, had - piece.position) :]

    def _record(self, index: int, node: str, streams: dict[int, bytes]) -> Record:
        said = {name: streams.get(stream, b"").decode(errors="replace") for stream, name in _STREAMS.items()}
        return {"task": f"{self._job}/{index}", "node": node, **said}


def so_far(job: str, tasks: Iterable[Record], pieces: Iterable[PrintedPiece]) -> list[Record]:
    """One record for each task that has ended, or has printed something."""
    printed, running = Printed(job), dict[str, Record]()
    for said in chain(printed.came(pieces), printed.unfinished()):
        whole = running.setdefault(said["task"], {**said, "stdout": "", "stderr": ""})
        for stream in _STREAMS.values():
            whole[stream] += said[stream]
    names = ("task", "node", "stdout", "stderr")
    told = [task for task in tasks if task["state"] in OVER or task["task"] in running]
    best = (task if _says_itself(task) else running.get(task["task"], task) for task in told)
    return [{name: said[name] for name in names} for said in best]


def _says_itself(task: Record) -> bool:
    """Whether it has ended with what it has printed. One that was cancelled, or lost with its node, ends without: what
    was heard of it until then is all that there is."""
    return task["state"] == "completed" or bool(task["stdout"] or task["stderr"])


def text_of(said: Record) -> str:
    """Each line with the task that printed it."""
    lines = [*said["stdout"].splitlines(), *said["stderr"].splitlines()]
    return "\n".join(f"{said['task'].rpartition('/')[2]}  {line}" for line in lines)
