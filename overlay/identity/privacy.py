"""Secrets lie in files of mode 0600 in folders of mode 0700. What is found more open is closed, and said."""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import Iterable
from itertools import takewhile
from pathlib import Path
from typing import Final

logger = logging.getLogger("potluck.identity")

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO


def make_private(folder: Path) -> None:
    """With whatever is missing above it, which `mkdir` alone would leave open to others."""
    missing = [folder, *takewhile(lambda above: not above.exists(), folder.parents)]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)


def write_private(path: Path, data: bytes) -> None:
    """Whole or not at all, readable by the owner only."""
    part = path.with_name(path.name + ".part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        os.fchmod(descriptor, 0o600)  # a part that a crash has left may have had another mode
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """What was renamed in it stays so after a power failure."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_open_to_others(path: Path) -> bool:
    return bool(path.stat().st_mode & _OTHERS)


def close_to_others(paths: Iterable[Path]) -> None:
    """Those of them that are there. Raises OSError for what cannot be closed: it is somebody else's."""
    for path in paths:
        if path.exists() and is_open_to_others(path):
            path.chmod(stat.S_IMODE(path.stat().st_mode) & ~_OTHERS)
            logger.warning(
                "%s was open to other users of this machine and is closed now; what it holds may be known to them", path
            )
