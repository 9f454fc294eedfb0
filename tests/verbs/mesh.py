"""Real nodes as processes on loopback, for the tests of verbs and of the executor."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from potluck.client.processes import NodeProcess
from potluck.client.surroundings import Surroundings

READY_TIMEOUT_S = 30.0
VERB_TIMEOUT_S = 60.0


class Said(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


class Mesh:
    """Nodes that share a data folder, and the command as their user would type it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.surroundings = Surroundings(folder / "data", folder / "potluck")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")}
        self.environment |= {"POTLUCK_DATA_DIR": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder)}
        self.nodes: dict[str, NodeProcess] = {}

    def up(self, name: str, *options: str) -> dict[str, Any]:
        arguments = [f"--name={name}", "--interface=127.0.0.1", "--port=0", "--slots=1", *options]
        node = NodeProcess(arguments, self.environment, self.folder / f"{name}.log")
        node.start()
        self.nodes[name] = node
        return node.await_ready(READY_TIMEOUT_S)

    def await_seen(self, name: str, by: str) -> None:
        """Until that node has this one for alive."""
        until_s = time.monotonic() + READY_TIMEOUT_S
        while (name, "alive") not in {(one["name"], one["state"]) for one in self.json("peers", "--node", by)}:
            assert time.monotonic() < until_s, f"{by} does not see {name}"

    def stop(self) -> None:
        for node in self.nodes.values():
            node.ask_to_leave()
        for node in self.nodes.values():
            node.stop()

    def type(self, *arguments: str, cwd: Path | None = None) -> Said:
        done = subprocess.run(
            [sys.executable, "-m", "potluck", *arguments],
            env=self.environment,
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=VERB_TIMEOUT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        return Said(done.returncode, done.stdout, done.stderr)

    def begin(self, *arguments: str) -> subprocess.Popen[bytes]:
        """As `type`, and does not wait for its end."""
        return subprocess.Popen(
            [sys.executable, "-m", "potluck", *arguments],
            env=self.environment,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def await_processes(self, node: str, *states: str) -> None:
        """Until these are the states of what runs there."""
        until_s = time.monotonic() + READY_TIMEOUT_S
        while (told := [one["state"] for one in self.json("ps", "--node", node)]) != list(states):
            assert time.monotonic() < until_s, told

    def json(self, *arguments: str) -> Any:
        said = self.type(*arguments, "--json")
        assert said.code == 0, said
        return said.json


@contextmanager
def mesh(folder: Path, names: Sequence[str] = ()) -> Iterator[Mesh]:
    made = Mesh(folder)
    try:
        for name in names:
            made.up(name)
        yield made
    finally:
        made.stop()
