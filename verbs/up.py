"""`potluck up`: the one verb that becomes a node."""

from __future__ import annotations

import gc
import logging
import os
import shutil
import signal
import socket
import sys
import threading
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import click
import msgspec

from ..client.surroundings import ensure_own_folder
from ..overlay.config import Config, Lending, Quota, loopback
from ..overlay.errors import ConfigError, UsageError
from ..overlay.ids import leading_letters
from .announcing import Announcer, event_line, silence_output
from .answer import Answer, Session, verb
from .handlers import handlers_in
from .reading import Counts, Numbers, check_interface, policy, quota_of, sandbox_option, size
from .up_many import detach, supervise

PRIVATE_NAME: Final = "private"
MEMORY_SHARE: Final = 0.25
DISK_SHARE: Final = 0.10
IDLE_S: Final = 300
LAST_RESORT_S: Final = 10.0
"""After its parent has gone a node leaves; should that hang, it ends all the same."""

_DURATION: Final = Numbers(min=0)


def _variables(option: str, *aliases: str) -> list[str]:
    return [f"POTLUCK_{option}", *aliases]


def _both(variable: str) -> list[str]:
    return _variables(variable, variable)


@verb("up", summary="Start a node on this machine.")
@click.option("--name", metavar="N", envvar=_variables("NAME"), help="Default: the host name.")
@click.option("--interface", metavar="IP|IFNAME", envvar=_variables("INTERFACE"), help="Stay on this interface.")
@click.option(
    "--port",
    type=Counts(0, 65_535),
    metavar="P",
    envvar=_variables("PORT", "PEER_PORT"),
    help="Default: 9000 or the next free one.",
)
@click.option("--slots", type=Counts(min=0), envvar=_variables("SLOTS"), help="Tasks at once.  [CPUs]")
@click.option("--memory", type=size, envvar=_variables("MEMORY"), help="Memory to lend.  [25 % of what is free]")
@click.option("--disk", type=size, envvar=_variables("DISK"), help="Disk to lend.  [10 % of what is free]")
@click.option("--gpus", metavar="all|none|0,2", default="all", envvar=_variables("GPUS"), help="GPUs to lend.  [all]")
@click.option(
    "--task-network",
    type=click.Choice(("none", "own", "all")),
    default="none",
    envvar=_variables("TASK_NETWORK"),
    help="Whose tasks may use the network, if they ask for it.  [none]",
)
@click.option("--lend-hours", metavar="HOURS", envvar=_variables("LEND_HOURS"), help="As in 22:00-07:00; else always.")
@click.option(
    "--only-when-idle",
    type=_DURATION,
    is_flag=False,
    flag_value=str(IDLE_S),
    metavar="[S]",
    envvar=_variables("ONLY_WHEN_IDLE"),
    help=f"Lend only when you have left the machine alone for so long.  [{IDLE_S}]",
)
@click.option("--idle-cpus", type=_DURATION, envvar=_variables("IDLE_CPUS"), help="More, of others, is you. [0.5]")
@click.option("--idle-device", multiple=True, metavar="PATH", envvar=_variables("IDLE_DEVICE"), help="Used by you.")
@click.option("--lend-grace", type=_DURATION, envvar=_variables("LEND_GRACE"), help="Held tasks then go back. [30]")
@click.option(
    "--quota", metavar="cpu=S,memory=SIZE,…", envvar=_variables("QUOTA"), help="For each other owner; total-cpu, disk."
)
@click.option("--handles", metavar="KIND,KIND", envvar=_variables("HANDLES"), help="Kinds of instructions to run.")
@click.option("--handlers", metavar="FILE.py", envvar=_variables("HANDLERS"), help="Functions that do so.")
@click.option("--label", "labels", metavar="K=V", multiple=True, envvar=_variables("LABEL"), help="May be repeated.")
@click.option(
    "--policy",
    type=policy,
    default="fcfs",
    metavar="NAME[:SETTING=VALUE]",
    envvar=_variables("POLICY"),
    help="fcfs, sjf, priority, rr, mlfq or fair.  [fcfs]",
)
@sandbox_option("[auto]")
@click.option(
    "--peer", "peers", metavar="HOST:PORT", multiple=True, envvar=_variables("PEER"), help="Where multicast is blocked."
)
@click.option(
    "--mesh-secret-file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    envvar=_variables("MESH_SECRET_FILE"),
    help="Found or join the mesh of this secret.",
)
@click.option("--nodes", type=Counts(1, 64), default=1, help="Run several nodes, N-1, N-2, …")
@click.option("--detach", is_flag=True, help="Go to the background once ready.")
@click.option("--dial-timeout", type=_DURATION, envvar=_both("SOCKET_TIMEOUT"), hidden=True)
@click.option("--probe-interval", type=_DURATION, envvar=_both("HEARTBEAT_INTERVAL"), hidden=True)
@click.option("--suspicion", type=_DURATION, envvar=_both("PEER_TIMEOUT"), hidden=True)
@click.option("--private", is_flag=True, hidden=True)
@click.option("--until-eof", is_flag=True, hidden=True)
@click.option("--background", is_flag=True, hidden=True)
def command(session: Session, /, **options: Any) -> Answer:
    """Start a node, and run until Ctrl+C; then leave gracefully."""
    nodes, detached, background = options.pop("nodes"), options.pop("detach"), options.pop("background")
    until_eof = options.pop("until_eof")
    config = checked(session, options)
    ensure_own_folder(config.runtime_dir)
    if detached:
        return detach(session, config, nodes, log=_log_file(config))
    if until_eof and not config.private:  # a private node looks after that itself
        _leave_when_parent_ends()
    if nodes > 1:
        return supervise(session, config, nodes, background=background)
    return _serve(session, config, background=background)


def checked(session: Session, options: Mapping[str, Any]) -> Config:
    """Raises UsageError for whatever is wrong in the settings, wherever it was said."""
    known = {option for parameter in command.params for option in parameter.opts}
    unknown = sorted(name for name in session.settings if f"--{name}" not in known)
    if unknown:
        raise UsageError("; ".join(f"config.toml: there is no setting {_meant(name, known)}" for name in unknown))
    try:
        config = config_of(session, **options)
    except ConfigError as error:
        raise UsageError(str(error)) from None
    check_interface(config.interface)
    return config


def _meant(name: str, known: Collection[str]) -> str:
    hyphened = name.replace("_", "-")
    return f"{name!r}: it is written {hyphened}" if f"--{hyphened}" in known else repr(name)


def config_of(
    session: Session,
    *,
    name: str | None,
    private: bool,
    interface: str | None,
    slots: int | None,
    memory: int | None,
    disk: int | None,
    handles: str | None,
    handlers: str | None,
    labels: tuple[str, ...],
    dial_timeout: float | None,
    probe_interval: float | None,
    suspicion: float | None,
    lend_hours: str | None,
    only_when_idle: float | None,
    idle_cpus: float | None,
    idle_device: tuple[str, ...],
    lend_grace: float | None,
    task_network: str,
    quota: str | None,
    **others: Any,
) -> Config:
    """Fills in what was not said."""
    chosen = name or (PRIVATE_NAME if private else host_name())
    data_dir = session.surroundings.data_dir
    config = Config(
        chosen,
        data_dir,
        session.surroundings.runtime_dir,
        interface="127.0.0.1" if private else interface,
        slots=len(os.sched_getaffinity(0)) if slots is None else slots,
        memory_bytes=_free_memory_share() if memory is None else memory,
        disk_bytes=_free_disk_share(data_dir) if disk is None else disk,
        kinds=_kinds(handles, chosen),
        handlers=handlers_in(handlers) if handlers else None,
        labels=_pairs(labels),
        private=private,
        quota=Quota() if quota is None else quota_of(quota),
        lending=msgspec.structs.replace(
            _lending(lend_hours, only_when_idle, idle_cpus, idle_device, lend_grace), network=task_network
        ),
        **others,
    )
    links, membership = config.links, config.membership
    if dial_timeout is not None:
        links = msgspec.structs.replace(links, dial_timeout_s=dial_timeout)
    if probe_interval is not None:
        membership = msgspec.structs.replace(membership, probe_interval_s=probe_interval)
    if suspicion is not None:
        membership = msgspec.structs.replace(membership, suspicion_s=suspicion)
    config = msgspec.structs.replace(config, links=links, membership=membership)
    if kept_bytes := config.quota.disk_bytes:
        jobs, dht = (
            msgspec.structs.replace(config.jobs, kept_owner_bytes_max=kept_bytes),
            msgspec.structs.replace(config.dht, owner_bytes_max=kept_bytes),
        )
        config = msgspec.structs.replace(config, jobs=jobs, dht=dht)
    return loopback(config) if config.interface in ("127.0.0.1", "lo") else config


def _lending(
    hours: str | None, idle_s: float | None, idle_cpus: float | None, devices: tuple[str, ...], grace_s: float | None
) -> Lending:
    """Raises ConfigError."""
    rules = Lending(hours=hours or "", idle_s=idle_s or 0.0, devices=devices)
    if hours is not None:
        from ..node.lending.hours import parse

        parse(hours)
    if idle_cpus is not None:
        rules = msgspec.structs.replace(rules, idle_cpus=idle_cpus)
    return rules if grace_s is None else msgspec.structs.replace(rules, grace_s=grace_s)


def host_name() -> str:
    """The machine's name, as far as a node's name may look like it."""
    name = "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in socket.gethostname())
    return name.split(".")[0].strip("-")[:48] or "node"


def _kinds(handles: str | None, name: str) -> tuple[str, ...]:
    if handles is None:
        return (kind,) if (kind := leading_letters(name)) else ()
    return tuple(kind.strip().lower() for kind in handles.split(",") if kind.strip())


def _pairs(labels: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    pairs = []
    for label in labels:
        key, equals, value = label.partition("=")
        if not key or not equals:
            raise UsageError(f"label {label!r}: write it KEY=VALUE")
        pairs.append((key, value))
    return tuple(pairs)


def _free_memory_share() -> int:
    import psutil

    return int(psutil.virtual_memory().available * MEMORY_SHARE)


def _free_disk_share(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return int(shutil.disk_usage(folder).free * DISK_SHARE)


def _log_file(config: Config) -> Path:
    from ..overlay.identity.privacy import make_private

    make_private(config.data_dir)
    return config.data_dir / f"{config.name}.log"


def _serve(session: Session, config: Config, *, background: bool) -> Answer:
    if not config.private:
        logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(message)s")
        logging.getLogger("potluck").setLevel(logging.INFO)

    say = Announcer(session.show)

    def announce(event: Mapping[str, object]) -> None:
        ready = event.get("event") == "ready"
        if ready or not (config.private or background):
            say(event, event_line(event))
        if ready and background:
            silence_output()

    try:
        _imported(config)(config, announce)
    finally:
        if config.private:
            shutil.rmtree(config.data_dir, ignore_errors=True)
    return Answer(None, told=True)


def _imported(config: Config) -> Callable[[Config, Callable[[Mapping[str, object]], None]], None]:
    """The node's whole program, what tries out sandboxes first. Nothing of it is garbage, nor ever will be: no
    collection looks at it."""
    gc.disable()
    from ..node.sandboxes.headstart import HeadStart

    head_start = HeadStart.of(config.sandbox, begins_worker=config.private and config.slots != 0)
    from ..node.process import serve

    gc.enable()
    gc.freeze()
    return partial(serve, sandboxes=head_start.sandboxes)


def _leave_when_parent_ends() -> None:
    """The parent holds the other end of our standard input and never writes to it."""

    def watch() -> None:
        while os.read(0, 4096):
            pass
        os.kill(os.getpid(), signal.SIGTERM)
        threading.Event().wait(LAST_RESORT_S)
        os._exit(1)

    threading.Thread(target=watch, name="potluck-parent", daemon=True).start()
