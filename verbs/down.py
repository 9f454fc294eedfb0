"""`potluck down`."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import click

from ..client.connection import Connection
from ..client.dialling import connect, running
from ..overlay.errors import DeadlineExceeded, NoNode, PotluckError
from ..overlay.places import control_socket_path
from ..overlay.wire.control import AskStatus, ShutDown
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import Numbers

LEAVE_TIMEOUT_S: Final = 15.0
LOOK_AGAIN_S: Final = 0.02
DRAIN_S_MAX: Final = 7 * 86_400.0

_TOLD: Final = {
    "jobs_handed_over": ("lasting job", "lasting jobs", "went on to another node"),
    "handed_back": ("task that had not begun", "tasks that had not begun", "went back to be run elsewhere"),
    "finished": ("running task", "running tasks", "finished here"),
    "given_up": ("running task", "running tasks", "ended here, to be run elsewhere"),
}
"""What there was of each kind, and what became of it."""


@verb("down", summary="Stop running nodes.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "all_nodes", is_flag=True, help="All of your nodes on this machine.")
@click.option("--drain", is_flag=True, help="Finish what runs there first, and what programs there wait for.")
@click.option(
    "--within",
    "within_s",
    metavar="SECONDS",
    type=Numbers(0, DRAIN_S_MAX),
    default=300.0,
    help="With --drain: for no longer than this (300).",
)
def command(session: Session, names: tuple[str, ...], all_nodes: bool, drain: bool, within_s: float) -> Answer:
    """Stop the nodes of these names; without names, the one that --node would pick.

    What a node has not begun is run elsewhere; so is what it runs, unless it drains. What may run only once and runs
    there is lost then, and its program is told so.
    """
    wanted: list[str | None] = [*names]
    if all_nodes:
        wanted = [*running(session.surroundings)]
        if not wanted:
            raise NoNode("no node is running here")
    elif not names:
        wanted = [session.node]
    left = [_stop(session, name, within_s if drain else 0.0) for name in wanted]
    lines = [line for one in left for line in _lines(one)]
    return Answer({"stopped": [one["node"] for one in left], "left": left}, "\n".join(lines))


def _stop(session: Session, name: str | None, drain_s: float) -> dict[str, Any]:
    with connected(replace(session, node=name)) as connection:
        stopping = connection.greeted.result().name
        if drain_s:
            _announce(session, connection, stopping, drain_s)
        told = connection.ask(ShutDown, drain_s > 0, drain_s)
        try:
            done: dict[str, Any] = json.loads(told.result(drain_s + LEAVE_TIMEOUT_S).json)
        except TimeoutError:
            raise DeadlineExceeded(f"{stopping} has not left after {drain_s + LEAVE_TIMEOUT_S:g} s") from None
    _await_end(control_socket_path(session.surroundings.runtime_dir, session.surroundings.data_dir, stopping), stopping)
    del done["stopped"]
    return {"node": stopping, **done}


def _announce(session: Session, connection: Connection, name: str, drain_s: float) -> None:
    busy = ask_json(connection, AskStatus)["load"]["busy"]
    if busy and not session.as_json:
        session.show({}, f"{name} finishes {busy} running task{'s' * (busy > 1)}, for {drain_s:g} s at most")


def _lines(left: Mapping[str, Any]) -> list[str]:
    name = left["node"]
    lines = [
        f"{name}: {left[kind]} {one if left[kind] == 1 else several} {became}"
        for kind, (one, several, became) in _TOLD.items()
        if left[kind]
    ]
    return [*lines, f"{name} has left"]


def _await_end(path: Path, name: str) -> None:
    deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
    while _listens(path):
        if time.monotonic() > deadline_s:
            raise DeadlineExceeded(f"{name} has not left after {LEAVE_TIMEOUT_S:g} s")
        time.sleep(LOOK_AGAIN_S)


def _listens(path: Path) -> bool:
    try:
        link = connect(path)
    except PotluckError:
        return False
    if link is not None:
        link.close()
    return link is not None
