"""Where the nodes of a user lie on this machine. Pure, except `node_names`, which reads what nodes left there."""

from __future__ import annotations

import hashlib
import os
import tomllib
from pathlib import Path
from typing import Final

from .errors import ConfigError

SUN_PATH_BYTES_MAX: Final = 107
"""What `sockaddr_un.sun_path` holds beside its closing zero."""


def machine_id(host_name: str, machine_text: str) -> str:
    """Tells machines apart that share a home. `machine_text`: what /etc/machine-id holds, if anything."""
    return hashlib.blake2b(f"{host_name}\0{machine_text.strip()}".encode(), digest_size=4).hexdigest()


def node_dir(data_dir: Path, machine: str, name: str) -> Path:
    return data_dir / "nodes" / f"{machine}-{name}"


def control_socket_path(runtime_dir: Path, data_dir: Path, name: str) -> Path:
    """The Unix socket of a node. Its name is a short hash, because the path of a socket must be."""
    digest = hashlib.blake2b(f"{data_dir.absolute()}\0{name}".encode(), digest_size=8).hexdigest()
    path = runtime_dir / f"{digest}.sock"
    if len(os.fsencode(path)) > SUN_PATH_BYTES_MAX:
        raise ConfigError(f"runtime folder {runtime_dir}: its path is too long for a Unix socket")
    return path


def node_names(data_dir: Path) -> list[str]:
    """Names of the nodes that have ever run from `data_dir`, sorted; what cannot be read is passed over."""
    names = set()
    for file in data_dir.glob("nodes/*/node.toml"):
        try:
            name = tomllib.loads(file.read_text(encoding="utf-8")).get("name")
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError):
            continue
        if isinstance(name, str):
            names.add(name)
    return sorted(names)
