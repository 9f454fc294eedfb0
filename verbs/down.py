"""`potluck down`."""

from __future__ import annotations

import json
import os
import select
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from typing import Any, Final

import click

from ..client.connection import Connection
from ..client.dialling import process_at, running
from ..overlay.errors import DeadlineExceeded, NoNode
from ..overlay.places import control_socket_path
from ..overlay.wire.control import AskStatus, ShutDown
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import Numbers

LEAVE_TIMEOUT_S: Final = 15.0
DRAIN_S_MAX: Final = 7 * 86_400.0

_TOLD: Final = {
    "jobs_handed_over": ("lasting job", "lasting jobs", "went on to another node"),
    "handed_back": ("task that had not begun", "tasks that had not begun", "went back to be run elsewhere"),
    "stood_still": ("task that stood still", "tasks that stood still", "went back to be run elsewhere"),
    "finished": ("running task", "running tasks", "finished here"),
    "broken_off": ("running task", "running tasks", "ended here: cancelled, moved, or waited for by nobody any more"),
    "given_up": ("running task", "running tasks", "ended here, to be run elsewhere"),
    "lost": ("task that must not run twice", "tasks that must not run twice", "ended here, and told as lost"),
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
    elif unknown := set(names).difference(running(session.surroundings)):
        raise NoNode(f"no node named {sorted(unknown)[0]!r} is running here, and none was stopped")
    left = [_stop(session, name, within_s if drain else 0.0) for name in wanted]
    lines = [line for one in left for line in _lines(one)]
    return Answer({"stopped": [one["node"] for one in left], "left": left}, "\n".join(lines))


def _stop(session: Session, name: str | None, drain_s: float) -> dict[str, Any]:
    with connected(replace(session, node=name)) as connection, ExitStack() as closing:
        stopping = connection.greeted.result().name
        surroundings = session.surroundings
        process = process_at(control_socket_path(surroundings.runtime_dir, surroundings.data_dir, stopping))
        if process is not None:
            closing.callback(os.close, process)
        if drain_s:
            _announce(session, connection, stopping, drain_s)
        told = connection.ask(ShutDown, drain_s > 0, drain_s)
        try:
            done: dict[str, Any] = json.loads(told.result(drain_s + LEAVE_TIMEOUT_S).json)
        except TimeoutError:
            raise DeadlineExceeded(f"{stopping} has not left after {drain_s + LEAVE_TIMEOUT_S:g} s") from None
        # Not only does it listen no more: another may begin in its place, with what it has written.
        if process is not None and not select.select([process], [], [], LEAVE_TIMEOUT_S)[0]:
            raise DeadlineExceeded(f"{stopping} has not ended after {LEAVE_TIMEOUT_S:g} s")
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
