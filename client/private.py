"""A node for one program, where the user runs none: loopback only, without discovery, gone with the program."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import IO, Final

from .dialling import Link, dial, greet
from .forking import forgets_parent
from .processes import NodeProcess
from .surroundings import Surroundings, surroundings_of

START_TIMEOUT_S: Final = 30.0


class PrivateNode:
    """Shared by all executors of a program: starts with the first that dials, ends with the last that wants it.

    Every method may be called in any thread.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._wanted = 0
        self._node: NodeProcess | None = None
        self._folder: Path | None = None
        self._log: IO[bytes] = io.BytesIO()
        """What the node says to people."""
        self._name = ""

    @property
    def is_wanted(self) -> bool:
        return self._wanted > 0

    def want(self) -> None:
        forgets_parent(self)
        with self._lock:
            self._wanted += 1

    def let_go(self) -> None:
        """Once for each `want`."""
        with self._lock:
            self._wanted -= 1
            if not self._wanted:
                self._stop()

    def dial(self) -> Link:
        """Raises what keeps the node from starting. One that has died is followed by another."""
        with self._lock:
            if self._node is None or not self._node.is_running:
                self._stop()
                self._start()
            surroundings, name = self._surroundings(), self._name
        return greet(dial(surroundings, name))

    def forget_parent(self) -> None:
        """The parent's node is the parent's; it leaves when every copy of the pipe it watches is closed."""
        self._lock = threading.Lock()
        if self._node is not None:
            self._node.disown()
        self._log.close()
        self._node = self._folder = None
        self._wanted = 0

    def _start(self) -> None:
        self._folder = folder = Path(tempfile.mkdtemp(prefix="potluck-private-"))
        # Of no name: the node clears up the folder, should nobody else be left to.
        self._log = tempfile.TemporaryFile()  # noqa: SIM115  closed with the node
        self._node = NodeProcess(["--private"], self._environment(folder), self._log)
        self._node.start()
        try:
            self._name = str(self._node.await_ready(START_TIMEOUT_S)["name"])
        except BaseException:  # Ctrl+C too: a node that nobody waits for is not left behind
            self._stop()
            raise

    def _stop(self) -> None:
        node, folder = self._node, self._folder
        self._node = self._folder = None
        if node is not None and node.is_started:
            node.stop()
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
        self._log.close()

    def _surroundings(self) -> Surroundings:
        assert self._folder is not None
        return surroundings_of(self._environment(self._folder))

    def _environment(self, folder: Path) -> dict[str, str]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")}
        environment["POTLUCK_DATA_DIR"] = str(folder)
        return environment


OF_PROGRAM: Final = PrivateNode()
"""Of the process by nature: its executors and its memory share one."""
