"""A node for one program, where the user runs none: loopback only, without discovery, gone with the program."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

from .dialling import Link, dial, greet
from .processes import NodeProcess
from .surroundings import surroundings_of

START_TIMEOUT_S: Final = 30.0


class PrivateNode:
    """Started by `dial`, ended by `stop`; both may be called in another thread than the one that made it."""

    def __init__(self) -> None:
        self._node: NodeProcess | None = None
        self._folder: Path | None = None

    def dial(self) -> Link:
        """Raises what keeps the node from starting."""
        self._folder = folder = Path(tempfile.mkdtemp(prefix="potluck-private-"))
        environment = {name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")}
        environment["POTLUCK_DATA_DIR"] = str(folder / "data")
        self._node = NodeProcess(["--private"], environment, folder / "log")
        self._node.start()
        ready = self._node.await_ready(START_TIMEOUT_S)
        return greet(dial(surroundings_of(environment), str(ready["name"])))

    def stop(self) -> None:
        if self._node is not None:
            self._node.stop()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
