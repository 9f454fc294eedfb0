"""Where this user's nodes are. The one place outside `cli` that looks at the environment: a program has no `cli`."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import msgspec

from ..overlay.errors import NotAllowed

TEMPORARY_BYTES_MAX: Final = 60
"""A longer path leaves no room for the name of a Unix socket."""


class Surroundings(msgspec.Struct, frozen=True):
    data_dir: Path
    """Holds all nodes of the user."""
    runtime_dir: Path
    """Holds their control sockets; local to this machine."""
    node: str | None = None
    """The node to talk to, when the user has named one."""


def surroundings_of(environment: Mapping[str, str]) -> Surroundings:
    data_dir = environment.get("POTLUCK_DATA_DIR")
    if data_dir:
        where = Path(data_dir).expanduser().absolute()
    else:
        import platformdirs

        where = platformdirs.user_data_path("potluck")
    return Surroundings(where, _runtime_dir(environment), environment.get("POTLUCK_NODE") or None)


def _runtime_dir(environment: Mapping[str, str]) -> Path:
    if runtime := environment.get("XDG_RUNTIME_DIR"):
        return Path(runtime) / "potluck"
    import tempfile

    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > TEMPORARY_BYTES_MAX:
        folder = "/tmp"  # noqa: S108  the folder made in it is checked for its owner
    return Path(folder) / f"potluck-{os.getuid()}"


def here() -> Surroundings:
    return surroundings_of(os.environ)


def ensure_own_folder(folder: Path) -> Path:
    """Makes a folder that only this user can enter, or raises NotAllowed: in a shared /tmp someone may be first."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
        raise NotAllowed(f"{folder} belongs to somebody else")
    if found.st_mode & 0o077:
        raise NotAllowed(f"{folder} is open to others: chmod 700 {folder}")
    return folder
