"""`potluck down`."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Final

import click

from ..client.dialling import connect, running
from ..overlay.errors import DeadlineExceeded, NoNode, PotluckError
from ..overlay.places import control_socket_path
from ..overlay.wire.control import ShutDown
from .answer import Answer, Session, verb
from .asking import ask, connected

LEAVE_TIMEOUT_S: Final = 15.0
LOOK_AGAIN_S: Final = 0.02


@verb("down", summary="Stop running nodes.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "all_nodes", is_flag=True, help="All of your nodes on this machine.")
def command(session: Session, names: tuple[str, ...], all_nodes: bool) -> Answer:
    """Stop the nodes of these names; without names, the one that --node would pick."""
    wanted: list[str | None] = [*names]
    if all_nodes:
        wanted = [*running(session.surroundings)]
        if not wanted:
            raise NoNode("no node is running here")
    elif not names:
        wanted = [session.node]
    stopped = [_stop(session, name) for name in wanted]
    return Answer({"stopped": stopped}, "\n".join(f"{name} has left" for name in stopped))


def _stop(session: Session, name: str | None) -> str:
    with connected(replace(session, node=name)) as connection:
        stopping = connection.greeted.result().name
        ask(connection, ShutDown)
    path = control_socket_path(session.surroundings.runtime_dir, session.surroundings.data_dir, stopping)
    deadline_s = time.monotonic() + LEAVE_TIMEOUT_S
    while _listens(path):
        if time.monotonic() > deadline_s:
            raise DeadlineExceeded(f"{stopping} has not left after {LEAVE_TIMEOUT_S:g} s")
        time.sleep(LOOK_AGAIN_S)
    return stopping


def _listens(path: object) -> bool:
    from pathlib import Path

    try:
        link = connect(Path(str(path)))
    except PotluckError:
        return False
    if link is not None:
        link.close()
    return link is not None
