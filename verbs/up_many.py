"""Several nodes under one `up`, and nodes in the background."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ..client.processes import NodeProcess, end_all
from ..overlay import signals
from ..overlay.config import Config, Quota
from ..overlay.errors import NoNode
from .announcing import Announcer, event_line, silence_output
from .answer import Answer, Session

READY_TIMEOUT_S: Final = 60.0


def arguments_of(config: Config, name: str, port: int | None) -> list[str]:
    """The flags of `up` that give a child this configuration."""
    arguments = [
        f"--name={name}",
        f"--slots={config.slots}",
        f"--memory={config.memory_bytes}",
        f"--disk={config.disk_bytes}",
        f"--policy={config.policy}",
        f"--sandbox={config.sandbox}",
        f"--handles={','.join(config.kinds)}",
        f"--dial-timeout={config.links.dial_timeout_s}",
        f"--probe-interval={config.membership.probe_interval_s}",
        f"--suspicion={config.membership.suspicion_s}",
    ]
    arguments += [f"--label={key}={value}" for key, value in config.labels]
    arguments += [f"--peer={peer}" for peer in config.peers]
    arguments += _lending_arguments(config)
    handlers = config.handlers.file_name if config.handlers else None
    optional = (
        ("--handlers", handlers),
        ("--port", port),
        ("--interface", config.interface),
        ("--mesh-secret-file", config.mesh_secret_file),
    )
    return arguments + [f"{flag}={value}" for flag, value in optional if value is not None]


def _lending_arguments(config: Config) -> list[str]:
    rules = config.lending
    return [
        f"--gpus={config.gpus}",
        f"--task-network={rules.network}",
        f"--only-when-idle={rules.idle_s}",
        f"--idle-cpus={rules.idle_cpus}",
        f"--lend-grace={rules.grace_s}",
        *([f"--quota={quota}"] if (quota := _quota_text(config.quota)) else []),
        *([f"--lend-hours={rules.hours}"] if rules.hours else []),
        *[f"--idle-device={device}" for device in rules.devices],
    ]


def _quota_text(quota: Quota) -> str:
    told = {"cpu": quota.cpu_s, "total-cpu": quota.total_cpu_s, "memory": quota.memory_bytes, "disk": quota.disk_bytes}
    return ",".join(f"{name}={most}" for name, most in told.items() if most)


def supervise(session: Session, config: Config, nodes: int, *, background: bool) -> Answer:
    """Runs the nodes as children until Ctrl+C, or until the last has gone."""
    environment = {**os.environ, "POTLUCK_DATA_DIR": str(config.data_dir)}
    children = []
    for number in range(1, nodes + 1):
        port = config.port + number - 1 if config.port else config.port
        arguments = arguments_of(config, f"{config.name}-{number}", port)
        children.append(NodeProcess(arguments, environment, None))
    printing, say = threading.Lock(), Announcer(session.show)

    def relay(child: NodeProcess, name: object) -> None:
        while (event := child.next_event()) is not None:
            with printing:
                _say_of(say, name, event)

    with _ended_by_signal(), _all_ended(children):
        for child in children:
            child.start()
        names = []
        for child in children:
            ready = child.await_ready(READY_TIMEOUT_S)
            say(ready, event_line(ready))
            names.append(ready.get("name"))
        if background:
            silence_output()
        relays = [
            threading.Thread(target=relay, args=[child, name], daemon=True)
            for child, name in zip(children, names, strict=True)
        ]
        for thread in relays:
            thread.start()
        for thread in relays:  # not for the processes: interrupted in that, Python first waits for them a while longer
            thread.join()
        raise NoNode("all nodes have ended")
    return Answer(None, told=True)


def _say_of(say: Announcer, name: object, event: Mapping[str, object]) -> None:
    """One output speaks for several nodes here, so each event names the one that says it."""
    say({**event, "observer": name}, f"{name}: {event_line(event)}")


@contextmanager
def _ended_by_signal() -> Iterator[None]:
    """Ctrl+C and whatever else ends a node ends the block, and that is success."""

    def interrupt(number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            signal.signal(number, signal.SIG_IGN)  # a terminal that goes sends it more than once
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in signals.ending()}
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def _all_ended(children: list[NodeProcess]) -> Iterator[None]:
    try:
        yield
    finally:
        end_all(children)


def detach(session: Session, config: Config, nodes: int, *, log: Path) -> Answer:
    """Starts `up` anew in a session of its own, and returns once it is ready."""

    arguments = [*arguments_of(config, config.name, config.port), f"--nodes={nodes}", "--background"]
    environment = {**os.environ, "POTLUCK_DATA_DIR": str(config.data_dir)}
    child = NodeProcess(arguments, environment, log, tied=False)
    child.start()
    try:
        for _ in range(nodes):
            event = child.await_ready(READY_TIMEOUT_S)
            session.show(event, event_line(event).removesuffix(" Ctrl+C leaves."))
    except BaseException:  # Ctrl+C too: what nobody has seen start is not left behind
        child.stop()
        raise
    child.let_go()
    return Answer(None, told=True)
