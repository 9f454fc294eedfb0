"""What this node says it can do."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping, Sequence
from typing import Final

from ..overlay.config import Config
from ..overlay.ids import leading_letters
from ..overlay.ports import Host, Sandbox
from ..overlay.wire.capabilities import Capabilities, Guarantees

VERSION: Final = "0.1.0"
FOR_OTHERS: Final = ("bubblewrap", "docker")
"""Backends in which a node runs tasks of other owners."""


def python_minor() -> str:
    return ".".join(platform.python_version_tuple()[:2])


def describe(config: Config, host: Host, sandboxes: Sequence[Sandbox]) -> Capabilities:
    best = sandboxes[0] if sandboxes else None
    return Capabilities(
        kinds=_kinds(config),
        slots=config.slots if sandboxes else 0,
        cpus=len(host.cores),
        memory_bytes=config.memory_bytes,
        disk_bytes=config.disk_bytes,
        gpus=[gpu.name for gpu in host.gpus],
        python=python_minor(),
        sandbox=best.backend if best else "",
        guarantees=best.guarantees if best else Guarantees(),
        runs_others=any(sandbox.backend in FOR_OTHERS for sandbox in sandboxes),
        packages_digest=_digest_of(host.packages),
        labels=dict(config.labels),
        version=VERSION,
        network=config.lending.network if best and best.opens_network else "none",
    )


def resources_row(able: Capabilities, host: Host) -> dict[str, object]:
    """What a node lends, for a person."""
    gpus = [{"name": gpu.name, "uuid": gpu.uuid, "memory": gpu.memory_bytes} for gpu in host.gpus]
    return {"cpus": able.slots, "cores": able.cpus, "memory": able.memory_bytes, "gpus": gpus}


def _kinds(config: Config) -> list[str]:
    named = config.kinds or tuple(kind for kind in [leading_letters(config.name)] if kind)
    return list(dict.fromkeys((*named, *(config.handlers.kinds if config.handlers else ()))))


def _digest_of(packages: Mapping[str, str]) -> bytes:
    """Equal where two nodes have the same versions of the same packages."""
    lines = "\n".join(f"{name} {version}" for name, version in sorted(packages.items()))
    return hashlib.sha256(lines.encode()).digest()


def versions_of(able: Capabilities) -> bytes:
    """What a result depends on beside program and arguments."""
    return f"{able.version} {able.python} ".encode() + able.packages_digest
