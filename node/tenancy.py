"""A node's folder is one process's at a time: two would each promise what the other does not know of."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..overlay.errors import NameInUse
from ..overlay.identity.mesh import usable


@contextmanager
def held(folder: Path, name: str) -> Iterator[None]:
    """Until the process ends, however it does. The control socket alone would not do: it lies where the session of a
    desktop has it, and there is another for whoever comes by ssh. Raises NameInUse, ConfigError."""
    with usable(folder):
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise taken(name) from None
        yield
    finally:
        os.close(lock)


def taken(name: str) -> NameInUse:
    return NameInUse(f"a node named {name} is running already: choose another with --name, or end it")
