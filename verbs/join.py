"""`potluck join CODE`: pairs in this process, moves the data directory, and has its running nodes begin again."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from ..client.dialling import running
from ..overlay.errors import DeadlineExceeded, PotluckError, UsageError
from ..overlay.wire.control import AskStatus, Reload
from .answer import Answer, Session, verb
from .asking import ask, ask_json, connected

if TYPE_CHECKING:
    from ..discovery.codes import Code
    from ..discovery.knocking import Joined, Where
    from ..overlay.ports import Address

RELOAD_TIMEOUT_S: Final = 20.0
LOOK_AGAIN_S: Final = 0.02


@verb("join", summary="Put this machine into another one's mesh.")
@click.argument("code", nargs=-1, required=True)
@click.option("--peer", metavar="HOST:PORT", help="Where the inviter is, if multicast is blocked.")
@click.option("--interface", metavar="IP|IFNAME", help="Look for the inviter on this interface.")
def command(session: Session, code: tuple[str, ...], peer: str | None, interface: str | None) -> Answer:
    """Put this machine into the mesh of whoever shows CODE (`potluck invite`). Its nodes and their data move along."""
    from ..discovery.codes import parse
    from ..discovery.knocking import Where
    from ..overlay.identity.joining import move

    where = Where(_address(peer) if peer else None, interface)
    joined = _pair(session.surroundings.data_dir, parse(" ".join(code)), where)
    names = running(session.surroundings)
    move(session.surroundings.data_dir, joined.mesh)
    for name in names:
        with connected(replace(session, node=name)) as connection:
            ask(connection, Reload, [str(joined.address)])
    for name in names:
        _await_moved(session, name, joined.mesh.mesh_id)
    notes = "" if names else "Start a node here with `potluck up`."
    return Answer(
        {"mesh": joined.mesh.mesh_id, "inviter": joined.inviter}, f"joined the mesh of {joined.inviter}", notes
    )


def _address(peer: str) -> Address:
    from ..overlay.ports import Address

    host, _, port = peer.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= 65_535:
        raise UsageError(f"peer {peer!r}: write it HOST:PORT")
    return Address(host, int(port))


def _pair(data_dir: Path, code: Code, where: Where) -> Joined:
    import trio

    from ..discovery.knocking import join
    from ..node.system import SystemEntropy
    from ..overlay.identity.joining import check_may_move, open_owner

    entropy = SystemEntropy()
    owner, mesh = open_owner(data_dir, entropy)
    check_may_move(mesh, data_dir)
    try:
        return trio.run(join, code, owner, where, entropy)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from None  # trio hands Ctrl+C on in the nursery it fell into


def _await_moved(session: Session, name: str, mesh_id: str) -> None:
    deadline_s = time.monotonic() + RELOAD_TIMEOUT_S
    while not _is_in(replace(session, node=name), mesh_id):
        if time.monotonic() > deadline_s:
            raise DeadlineExceeded(f"{name} has not come back in the new mesh after {RELOAD_TIMEOUT_S:g} s")
        time.sleep(LOOK_AGAIN_S)


def _is_in(session: Session, mesh_id: str) -> bool:
    try:
        with connected(session) as connection:
            mesh: object = ask_json(connection, AskStatus)["mesh"]
    except PotluckError:
        return False  # between its two lives
    return mesh == mesh_id
