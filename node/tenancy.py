"""A node's folder is one process's at a time: two would each promise what the other does not know of."""

from __future__ import annotations

import fcntl
import glob
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..overlay.errors import NameInUse
from ..overlay.identity.mesh import usable
from ..overlay.places import node_names


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


def tenants(data_dir: Path) -> list[str]:
    """Names of the nodes whose folder some process of this machine has. Nothing is locked in order to see it."""
    held = set(re.findall(r"FLOCK .*:([0-9]+) 0 EOF", Path("/proc/locks").read_text()))
    return [
        name
        for name in node_names(data_dir)
        for lock in data_dir.glob(f"nodes/*-{glob.escape(name)}/lock")
        if str(lock.stat().st_ino) in held
    ]


def taken(name: str) -> NameInUse:
    return NameInUse(f"a node named {name} is running already: choose another with --name, or end it")
