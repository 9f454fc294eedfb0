"""Checks of this machine alone, for which no node has to run."""

from __future__ import annotations

import os
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

import trio

from ...discovery.beacon import read_datagram
from ...overlay.config import Discovery
from ...overlay.errors import ConfigError, SandboxUnavailable
from ...overlay.ports import Sandbox
from ...overlay.transport.interfaces import Choice, explain
from ...overlay.transport.multicast import MulticastGroup
from ...overlay.transport.tcp import DEFAULT_PORT
from ...overlay.wire.beacon import BEACON, Discover
from ..capabilities import VERSION, python_minor
from .contents import unusable
from .findings import Finding, well, worth_knowing, wrong
from .judging import counted, several

DISK_FREE_MIN_BYTES: Final = 512 << 20
LISTEN_S: Final = 1.5
_SECRETS: Final = ("secret", "owner-key", "mesh.toml", "nodes/*/key", "left/*/secret", "left/*/owner-key")
_NAMESPACE_SWITCHES: Final = (
    ("kernel/apparmor_restrict_unprivileged_userns", "1", "0"),
    ("kernel/unprivileged_userns_clone", "0", "1"),
    ("user/max_user_namespaces", "0", "15000"),
)


_ENGINE_REMEDIES: Final = {
    "no engine runs": "start it: `systemctl start docker` (or first `apt-get install docker.io`)",
    "may not use": "as root `usermod -aG docker NAME`, then log in anew; whoever may use the engine is as good as root",
    "package `docker`": "`pip install docker` into the Python that runs potluck",
    "DOCKER_HOST": "leave DOCKER_HOST out, or name a socket of this machine: `unix:///…`",
}


def sandbox(choice: str = "auto") -> Finding:
    """`choice` as for `Config.sandbox`."""
    if choice == "docker":
        return _docker()
    from ..sandboxes.bubblewrap import BubblewrapSandbox
    from ..sandboxes.cgroups import Hierarchy

    try:
        return _works(BubblewrapSandbox.find(groups=Hierarchy.find()))
    except SandboxUnavailable as error:
        return wrong(
            "sandbox", f"{error}: no tasks of other people run here, your own run less guarded", _bubblewrap_fix()
        )


def _docker() -> Finding:
    from ..sandboxes.docker import DockerSandbox

    try:
        return _works(DockerSandbox.find())
    except SandboxUnavailable as error:
        said = str(error)
        fix = next((fix for sign, fix in _ENGINE_REMEDIES.items() if sign in said), "see the engine's own log")
        return wrong("sandbox", f"{said}: a node with `--sandbox docker` does not start", fix)


def _works(found: Sandbox) -> Finding:
    lacking = [name for name, kept in found.guarantees.as_dict().items() if not kept]
    return well("sandbox", f"{found.backend}{'; not limited: ' + ', '.join(lacking) if lacking else ''}")


def _bubblewrap_fix() -> str:
    if shutil.which("bwrap") is None:
        return "install it: `apt-get install bubblewrap` (or dnf, pacman, zypper), then start the node again"
    for name, bad, good in _NAMESPACE_SWITCHES:
        switch = Path("/proc/sys", name)
        if switch.exists() and switch.read_text().strip() == bad:
            return f"allow unprivileged user namespaces: `sysctl -w {name.replace('/', '.')}={good}` as root"
    return "allow unprivileged user namespaces, or run where they are (some containers forbid them)"


def gpus() -> Finding:
    from ..resources.gpus import find_gpus

    found = find_gpus()
    names = several([gpu.name for gpu in found.gpus])
    return well("gpus", f"{counted(len(found.gpus), 'GPU')}: {names or found.why}")


def files(data_dir: Path) -> Finding:
    if not data_dir.exists():
        return well("data", f"{data_dir} will be made by the first `potluck up`")
    faults = [*_too_open(data_dir), *unusable(data_dir)]
    if faults:
        return wrong(
            "data", several([fault for fault, _ in faults]), several(list(dict.fromkeys(fix for _, fix in faults)))
        )
    return well("data", f"{data_dir}, whole, its secrets readable by you alone")


def _too_open(data_dir: Path) -> Iterator[tuple[str, str]]:
    secret_files = [file for pattern in _SECRETS for file in sorted(data_dir.glob(pattern))]
    for path, mode in ((data_dir, 0o700), *((file, 0o600) for file in secret_files)):
        found = path.lstat()
        if found.st_uid != os.getuid():
            yield f"{path} belongs to user {found.st_uid}", f"`chown {os.getuid()} {path}`"
        elif stat.S_IMODE(found.st_mode) & 0o077:
            yield f"{path} is open to others", f"`chmod {mode:o} {path}`"


def disk(data_dir: Path) -> Finding:
    folder = data_dir
    while not folder.exists():
        folder = folder.parent
    free_bytes = shutil.disk_usage(folder).free
    detail = f"{free_bytes / (1 << 30):.1f} GiB free at {folder}"
    if free_bytes < DISK_FREE_MIN_BYTES:
        return wrong("disk", detail, "make room, or set POTLUCK_DATA_DIR to a folder on another disk")
    return well("disk", detail)


def versions() -> Finding:
    return well("versions", f"potluck {VERSION}, Python {python_minor()}")


async def port(addresses: Sequence[str]) -> Finding:
    """Whether the port that a node would like is there for it."""
    try:
        for address in addresses:
            for listener in await trio.open_tcp_listeners(DEFAULT_PORT, host=address):
                await listener.aclose()
    except OSError as error:
        return well("ports", f"TCP {DEFAULT_PORT}: {error.strerror or error}; a node takes the next that is free")
    return well("ports", f"TCP {DEFAULT_PORT} is free; others must be able to reach it")


def interfaces(interface: str | None) -> Finding:
    """Which addresses are used, and why the others are not."""
    try:
        choices = explain(interface)
    except ConfigError as error:
        return wrong("interfaces", str(error), "give --interface one of these, or leave it out")
    used = [one for one in choices if one.used]
    left_out = [f"{_named(one)} is left out: {one.why}" for one in choices if not one.used]
    detail = several([*(f"{_named(one)}: {one.why}" for one in used), *left_out])
    if interface is None and all(one.address.startswith("127.") for one in used):
        return worth_knowing("interfaces", detail, "connect the machine to a network: only this machine is reached")
    return well("interfaces", detail)


def _named(choice: Choice) -> str:
    return f"{choice.name} {choice.address}"


async def multicast_alone(addresses: Sequence[str], discovery: Discovery) -> Finding:
    """Sends a call that means nothing to anybody, and listens: for it, and for whoever else is there."""
    group = MulticastGroup(discovery.group, discovery.port, addresses)
    nonce = secrets.token_bytes(8)
    echoes: set[str] = set()
    others: set[str] = set()
    try:
        await group.send(BEACON.encode(Discover(secrets.token_bytes(16), nonce, 0)))
        with trio.move_on_after(LISTEN_S):
            while True:
                data, host = await group.receive()
                message = read_datagram(BEACON, data)
                if message is not None and message.sender == nonce:
                    echoes.add(host)
                elif message is not None and message.port:
                    others.add(f"{host}:{message.port}")
    finally:
        await group.aclose()
    return _judge_alone(addresses, echoes, sorted(others), group.refused)


def _judge_alone(addresses: Sequence[str], echoes: set[str], others: Sequence[str], refused: dict[str, str]) -> Finding:
    said = f"nodes heard: {several(others)}" if others else "no node heard"
    silent = [f"{one} ({refused.get(one, 'sent, not heard')})" for one in addresses if one not in echoes]
    if silent:
        return wrong(
            "multicast",
            f"does not work on {', '.join(silent)}",
            "let UDP 9077 to the group 239.255.77.77 through the firewall; else `potluck up --peer HOST:PORT`",
        )
    return well("multicast", f"works on {', '.join(sorted(echoes))}; {said}")
