"""Real nodes as processes on loopback, and the command line as a user calls it."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

GUARDED_NODE = str(Path(__file__).with_name("guarded_node.py"))
PATIENCE_S = 30.0


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = PATIENCE_S) -> float:
    """Seconds until the condition held. Polls gently; fails when it never does."""
    started_s = time.monotonic()
    pause = threading.Event()
    while not condition():
        assert time.monotonic() - started_s < timeout_s, f"not within {timeout_s} s: {what}"
        pause.wait(0.02)
    return time.monotonic() - started_s


@dataclass
class NodeProcess:
    name: str
    process: subprocess.Popen[bytes]
    log: Path
    ready: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)
    _lines: queue.Queue[dict[str, Any]] = field(default_factory=queue.Queue)

    def listen(self) -> None:
        """Collects the node's events for as long as it runs."""
        assert self.process.stdout is not None
        with self.process.stdout as stdout:
            for line in stdout:
                event = json.loads(line)
                event["at_s"] = time.monotonic()
                self.events.append(event)
                self._lines.put(event)

    def await_ready(self) -> None:
        try:
            self.ready = self._lines.get(timeout=PATIENCE_S)
        except queue.Empty:
            raise AssertionError(f"{self.name} did not start: {self.log_text()}") from None
        assert self.ready.get("event") == "ready", self.ready

    def event_times(self, event: str, node: str) -> list[float]:
        return [one["at_s"] for one in list(self.events) if one.get("event") == event and one.get("node") == node]

    def log_text(self) -> str:
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(PATIENCE_S)

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGINT)


@dataclass
class Answered:
    code: int
    out: str
    err: str

    @property
    def value(self) -> Any:
        assert self.out, f"no answer; exit {self.code}, stderr: {self.err}"
        return json.loads(self.out)


class Pool:
    """The nodes of one user on this machine."""

    def __init__(self, folder: Path, *, prefix: Sequence[str] = ()) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.data_dir.mkdir(parents=True, mode=0o700)
        self._runtime = tempfile.TemporaryDirectory(prefix="potluck-")  # the path of a Unix socket must be short
        self._prefix = tuple(prefix)
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")},
            "POTLUCK_DATA_DIR": str(self.data_dir),
            "XDG_RUNTIME_DIR": self._runtime.name,
        }
        self.nodes: dict[str, NodeProcess] = {}
        self._listeners: list[threading.Thread] = []

    def up(self, name: str, *flags: str, interface: str | None = "127.0.0.1", **environment: str) -> NodeProcess:
        """Starts a node and returns at once; `await_ready` waits."""
        log = self.folder / f"{name}.log"
        where = [f"--interface={interface}"] if interface else []
        with log.open("wb") as stderr:
            process = subprocess.Popen(
                [*self._prefix, sys.executable, GUARDED_NODE, "up", "--json", f"--name={name}", *where, *flags],
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=stderr,
                start_new_session=True,
            )
        node = self.nodes[name] = NodeProcess(name, process, log)
        listener = threading.Thread(target=node.listen)
        listener.start()
        self._listeners.append(listener)
        return node

    def up_together(self, *names: str, flags: Sequence[str] = ()) -> list[NodeProcess]:
        """Several nodes that have all found each other."""
        nodes = [self.up(name, *flags) for name in names]
        for node in nodes:
            node.await_ready()
        self.await_members(*names)
        return nodes

    def await_members(self, *names: str) -> None:
        for name in names:
            others = set(names) - {name}
            node = self.nodes[name]
            wait_until(
                lambda node=node, others=others: others <= {one.get("node") for one in list(node.events)},
                f"{name} sees {sorted(others)}: {node.events}",
            )

    def call(
        self, *arguments: str, node: str | None = None, timeout_s: float = 60.0, cwd: Path | None = None
    ) -> Answered:
        """`potluck ARGUMENTS`, as typed in a terminal."""
        environment = {**self.environment, **({"POTLUCK_NODE": node} if node else {})}
        done = subprocess.run(
            [*self._prefix, sys.executable, "-P", "-m", "potluck", *arguments],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            cwd=cwd or self.folder,
        )
        return Answered(done.returncode, done.stdout, done.stderr)

    def script(self, source: str, node: str, timeout_s: float = 90.0) -> Answered:
        """A user's program, saved and run."""
        path = self.folder / f"program_{len(list(self.folder.glob('program_*')))}.py"
        path.write_text(source)
        done = subprocess.run(
            [*self._prefix, sys.executable, str(path)],
            env={**self.environment, "POTLUCK_NODE": node},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
        return Answered(done.returncode, done.stdout, done.stderr)

    def end(self) -> None:
        for node in self.nodes.values():
            if node.process.poll() is None:
                node.process.terminate()
        for node in self.nodes.values():
            try:
                node.process.wait(8)
            except subprocess.TimeoutExpired:
                node.kill()
        for listener in self._listeners:
            listener.join(PATIENCE_S)
        self._runtime.cleanup()

    def assert_nobody_unpickled(self) -> None:
        for node in self.nodes.values():
            assert "tried to unpickle" not in node.log_text()
            assert node.process.returncode != 99


@contextmanager
def pool(folder: Path, *, prefix: Sequence[str] = ()) -> Iterator[Pool]:
    running = Pool(folder, prefix=prefix)
    try:
        yield running
    finally:
        running.end()
    running.assert_nobody_unpickled()
