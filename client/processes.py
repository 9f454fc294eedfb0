"""Nodes as child processes of a program: started, listened to, ended.

A child watches its standard input, whose other end only its parent holds: however the parent ends, the child sees
the end of it and leaves.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

import msgspec

from ..overlay.errors import BY_WIRE_CODE, NoNode, PotluckError
from ..overlay.wire.codec import UNPARSABLE
from .forking import NO_FORK

END_TIMEOUT_S: Final = 8.0
"""A graceful leave takes less; what takes longer is killed."""
_READ_BYTES: Final = 64 << 10


class NodeProcess:
    """`potluck up --json …` as a child, in a session of its own: Ctrl+C is for the parent, which then decides.

    `log` takes what the child says to people; None passes it on. With `tied` False it outlives its parent.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        log: Path | IO[bytes] | None,
        *,
        tied: bool = True,
    ) -> None:
        self._arguments = tuple(arguments)
        self._tied = tied
        self._environment = dict(environment)
        self._log = log
        self._process: subprocess.Popen[bytes] | None = None
        self._said = bytearray()
        self._deadline_s: float | None = None

    def start(self) -> None:
        # -P: a `random.py` beside the program is not the node's business.
        command = [sys.executable, "-P", "-m", "potluck", "up", "--json", *self._arguments]
        if self._tied:
            command.append("--until-eof")
        log = self._log.open("ab") if isinstance(self._log, Path) else self._log
        try:
            with NO_FORK:
                self._process = subprocess.Popen(
                    command,
                    stdin=subprocess.PIPE if self._tied else subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    env=self._environment,
                    start_new_session=True,
                )
        finally:
            if log is not None and log is not self._log:
                log.close()

    @property
    def is_started(self) -> bool:
        return self._process is not None

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "start it first"
        return self._process

    def next_event(self) -> dict[str, Any] | None:
        """Blocks until the node announces something; None when it has ended. Raises the error it ended with."""
        line = self._next_line()
        if not line:
            return None
        try:
            event = msgspec.json.decode(line, type=dict[str, Any])
        except UNPARSABLE:
            raise NoNode(f"a node said what is no event: {line[:200]!r}") from None
        if isinstance(error := event.get("error"), dict):
            raise error_of_kind(str(error.get("kind")), str(error.get("message")))
        return event

    def await_ready(self, timeout_s: float) -> dict[str, Any]:
        """The `ready` event. Raises what the node said instead, or NoNode; whoever started it ends it then."""
        self._deadline_s = time.monotonic() + timeout_s
        try:
            while (event := self.next_event()) is not None:
                if event.get("event") == "ready":
                    return event
            raise NoNode(f"a node did not start: {self._last_words()}")
        finally:
            self._deadline_s = None

    def ask_to_leave(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        else:
            self.process.terminate()

    def let_go(self) -> None:
        """It lives on without us."""
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process.returncode = 0  # or Popen would complain of a child nobody waited for

    @property
    def is_running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def disown(self) -> None:
        """In a forked child: the node is the parent's, and sees it end only when no copy of the pipe is left."""
        if self._process is None:
            return
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.returncode = 0  # or Popen would complain of a child nobody waited for

    def stop(self, timeout_s: float = END_TIMEOUT_S) -> None:
        """Leaves gracefully, else is killed; returns when it is gone."""
        self.ask_to_leave()
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()

    def _next_line(self) -> bytes:
        """Empty at the end. A node that is to be ready by a deadline is killed at that; no thread watches, because
        none can be started any more while a program ends."""
        assert self.process.stdout is not None
        source = self.process.stdout.fileno()
        waiting = select.poll()
        waiting.register(source)
        while b"\n" not in self._said:
            if self._deadline_s is not None and not waiting.poll(1000 * max(0.0, self._deadline_s - time.monotonic())):
                self.process.kill()
                self._deadline_s = None
            chunk = os.read(source, _READ_BYTES)
            self._said += chunk
            if not chunk:
                break
        line, end, rest = bytes(self._said).partition(b"\n")
        self._said[:] = rest
        return line + end

    def _last_words(self) -> str:
        if self._log is None:
            return "see above"
        if isinstance(self._log, Path):
            said = self._log.read_bytes()
        else:
            self._log.seek(0)
            said = self._log.read()
        lines = said.decode(errors="replace").splitlines()
        return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def end_all(nodes: Iterable[NodeProcess], timeout_s: float = END_TIMEOUT_S) -> None:
    """Asks all of them first, so that they leave at the same time."""
    started = [node for node in nodes if node.is_started]
    for node in started:
        node.ask_to_leave()
    deadline_s = time.monotonic() + timeout_s
    for node in started:
        node.stop(max(0.0, deadline_s - time.monotonic()))


def error_of_kind(kind: str, message: str) -> PotluckError:
    for cls in BY_WIRE_CODE.values():
        if cls.__name__ == kind:
            return cls(message)
    return NoNode(f"{kind}: {message}")
