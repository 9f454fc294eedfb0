"""Whether what lies in the data directory can be used: what keeps a node from starting is told before it is tried."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from ...overlay.errors import ConfigError
from ...overlay.identity.keys import KeyPair
from ...overlay.identity.mesh import present_mesh, read_secret
from ..store import check_readable

_Fault = tuple[str, str]
"""And what to do about it."""


def unusable(data_dir: Path) -> Iterator[_Fault]:
    """For each file or folder that a node could not use."""
    anew = f"put back a copy, or move {data_dir} away: this machine then begins as a stranger, to be invited again"
    folders = [data_dir, data_dir / "nodes", *sorted(data_dir.glob("nodes/*"))]
    if closed := [one for one in folders if one.is_dir() and not os.access(one, os.R_OK | os.W_OK | os.X_OK)]:
        yield from ((f"{one} cannot be used", _opening(one)) for one in closed)
        return
    yield from _tried(lambda: present_mesh(data_dir), anew)
    if (data_dir / "secret").exists():
        yield from _tried(
            lambda: read_secret(data_dir / "secret"), "put back a copy: without it nobody rotates or bans"
        )
    for folder in folders[2:]:
        key, state = folder / "key", folder / "state.db"
        fix = f"move {folder} away: the node begins anew, under another id"
        if key.exists():
            yield from _tried(lambda key=key: KeyPair.from_pem(key.read_bytes(), str(key)), fix)  # type: ignore[misc]
        if state.exists():
            yield from _tried(lambda state=state: check_readable(state), fix)  # type: ignore[misc]


def _opening(folder: Path) -> str:
    is_read_only = os.statvfs(folder).f_flag & os.ST_RDONLY
    return f"mount what {folder} lies on for writing" if is_read_only else f"`chmod 700 {folder}`"


def _tried(read: Callable[[], object], fix: str) -> Iterator[_Fault]:
    try:
        read()
    except ConfigError as error:
        yield str(error).partition(": move ")[0], fix
    except OSError as error:
        yield f"{error.filename} cannot be read: {error.strerror}", fix
