"""What running tasks print, shown by the program that waits for them.

A thread of its own writes, from the first output on: whoever reads results never waits for a terminal. What has been
written is told to the node, and without that those who print wait, so that a terminal that stands still, or a pager,
stops the tasks and fills no memory.
"""

from __future__ import annotations

import atexit
import sys
import threading
from collections import deque
from collections.abc import Callable
from typing import Final

from ..overlay.wire.control import OutputShown, Printed
from ..overlay.wire.streams import OutputTaken
from ..overlay.wire.work import Finished
from .threads import start

QUEUED_BYTES_MAX: Final = 16 << 20
"""Of what came with the ends of tasks, which nothing else limits."""
SHOWN_WITHIN_S: Final = 1.0
"""Whoever has waited for a result waits for what its task has printed, and no longer."""
LINE_BYTES_MAX: Final = 64 << 10
"""A longer line is shown in parts."""


class Printer:
    """Writes to this program's stdout and stderr."""

    def __init__(self) -> None:
        self.on_broken: Callable[[], object] = lambda: None
        """Called once, from the printer's thread, when nobody can read any more what is written."""
        self.broken: Exception | None = None
        self.at_line_start = True
        """Of stdout."""
        self._queue: deque[tuple[int, bytes, Callable[[], None]]] = deque()
        self._queued_bytes = 0
        self._writing = False
        self._shown = 0
        self.last = 0
        """Number of what was put last."""
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def put(self, stream: int, data: bytes, shown: Callable[[], None] = lambda: None) -> None:
        """Waits while too much waits to be written. Raises Unavailable where there is no thread that could write."""
        with self._changed:
            self._changed.wait_for(lambda: self._queued_bytes < QUEUED_BYTES_MAX)
            self._queue.append((stream, data, shown))
            self.last += 1
            self._queued_bytes += len(data)
            self._changed.notify_all()
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="potluck-printer", daemon=True)
                start(self._thread)
                atexit.register(self.flush)  # the last words of tasks that nobody waited for

    def flush(self) -> None:
        """Returns when all of it is written. In a forked copy, which has no such thread, at once."""
        if self._thread is None or not self._thread.is_alive():
            return
        with self._changed:
            self._changed.wait_for(lambda: not (self._queue or self._writing))

    def wait_shown(self, number: int) -> None:
        """Until that is written, and what was put before it; not for long, where a terminal stands still."""
        if self._shown < number and self._thread is not None and self._thread.is_alive():
            with self._changed:
                self._changed.wait_for(lambda: self._shown >= number, SHOWN_WITHIN_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._writing = False
                self._changed.notify_all()
                self._changed.wait_for(lambda: bool(self._queue))
                stream, data, shown = self._queue.popleft()
                self._queued_bytes -= len(data)
                self._writing = True
            if self.broken is None:
                self._write(stream, data)
            self._shown += 1
            shown()

    def _write(self, stream: int, data: bytes) -> None:
        file = sys.stdout if stream == 1 else sys.stderr
        if file is None:
            return
        try:
            if (binary := getattr(file, "buffer", None)) is not None:
                file.flush()
                binary.write(data)
                binary.flush()
            else:
                file.write(data.decode(errors="replace"))
                file.flush()
        except (OSError, ValueError) as error:
            self.broken = error
            self.on_broken()
        if stream == 1:
            self.at_line_start = data.endswith(b"\n")


class JobOutput:
    """Of the tasks of one job. `by_line`: of many tasks that print at once, every line stays whole.

    Called by the connection's reader only.
    """

    def __init__(self, printer: Printer, tell: Callable[[OutputShown], None], *, by_line: bool) -> None:
        self._printer = printer
        self._tell = tell
        self._by_line = by_line
        self._had: dict[tuple[bytes, int], int] = {}
        """By node and when it began to count: up to which position its output has come."""
        self._begun: dict[int, dict[int, bytes]] = {}
        """By task and stream: lines that have no end yet. A task is here once any of its output has come."""

    def take(self, message: Printed) -> None:
        output, source = message.output, (message.source, message.output.begun)
        end = output.position + len(output.data)
        fresh = output.data[max(0, self._had.get(source, 0) - output.position) :]
        self._had[source] = end = max(end, self._had.get(source, 0))
        shown = OutputShown(message.source, OutputTaken(output.job, end, output.begun))
        begun = self._begun.setdefault(output.index, {})
        if self._by_line:
            fresh = self._whole_lines(begun, output.stream, fresh)
        self._printer.put(output.stream, fresh, lambda: self._tell(shown))

    def begin_again(self) -> None:
        """Another node counts anew."""
        self._had.clear()
        self._begun.clear()

    def ended(self, finished: Finished) -> int:
        """The output of a task has come while it ran, or all comes now. Its number at the printer; 0 for none."""
        if not (finished.stdout or finished.stderr or self._begun):
            return 0
        begun = self._begun.pop(finished.index, None)
        rest = {1: finished.stdout, 2: finished.stderr} if begun is None else begun
        for stream, data in rest.items():
            if data and self._by_line and not data.endswith(b"\n"):
                data += b"\n"
            if data:
                self._printer.put(stream, data)
        return self._printer.last

    @staticmethod
    def _whole_lines(begun: dict[int, bytes], stream: int, fresh: bytes) -> bytes:
        whole, newline, begun[stream] = (begun.get(stream, b"") + fresh).rpartition(b"\n")
        if len(begun[stream]) > LINE_BYTES_MAX:
            return whole + newline + begun.pop(stream)
        return whole + newline
