"""`potluck join CODE`: pairs in this process, moves the data directory, and has its running nodes begin again."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ..client.dialling import running
from ..overlay.errors import NoNode, PotluckError, Unavailable, UsageError
from ..overlay.wire.control import AskStatus, Reload
from .answer import Answer, Session, verb
from .asking import ask, ask_json, await_in_mesh, connected
from .reading import check_interface

if TYPE_CHECKING:
    from ..discovery.codes import Code
    from ..discovery.knocking import Joined, Where
    from ..overlay.ports import Address


@verb("join", summary="Put this machine into another one's mesh.")
@click.argument("code", nargs=-1, required=True)
@click.option("--peer", metavar="HOST:PORT", help="Where the inviter is, if multicast is blocked.")
@click.option(
    "--interface",
    metavar="IP|IFNAME",
    envvar=["POTLUCK_INTERFACE"],
    help="Look for the inviter here.  [that of the running node]",
)
@click.option("--anew", is_flag=True, help="Leave the mesh it is in, whoever else is there, and come as a new owner.")
def command(session: Session, code: tuple[str, ...], peer: str | None, interface: str | None, anew: bool) -> Answer:
    """Put this machine into the mesh of whoever shows CODE (`potluck invite`). Its nodes and their data move along."""
    from ..discovery.codes import parse
    from ..discovery.knocking import Where
    from ..overlay.identity.joining import move

    words, address = parse(" ".join(code)), _address(peer) if peer else None
    check_interface(interface)
    names = _nodes_to_follow(session)
    where = Where(address, interface or _interface_of(session, names))
    joined = _pair(session.surroundings.data_dir, words, where, anew=anew)
    move(session.surroundings.data_dir, joined.mesh, anew=anew)
    _have_follow(session, names, joined)
    notes = "" if names else "Start a node here with `potluck up`."
    return Answer(
        {"mesh": joined.mesh.mesh_id, "inviter": joined.inviter}, f"joined the mesh of {joined.inviter}", notes
    )


def _nodes_to_follow(session: Session) -> list[str]:
    """Those that run here. One that cannot be told to follow is found before the invite is used."""
    from ..node.tenancy import tenants

    names = running(session.surroundings)
    for name in tenants(session.surroundings.data_dir):
        if name not in names:
            raise NoNode(f"{name} runs here, but not where this session looks (XDG_RUNTIME_DIR): end it first")
    for name in names:
        with connected(replace(session, node=name)) as connection:
            ask(connection, AskStatus)
    return names


def _have_follow(session: Session, names: Sequence[str], joined: Joined) -> None:
    """The move has been made: each is told, whatever has become of the others."""
    asked_s = time.monotonic()
    behind: dict[str, PotluckError] = {}
    for name in names:
        try:
            with connected(replace(session, node=name)) as connection:
                ask(connection, Reload, [str(joined.address)])
        except PotluckError as error:
            behind[name] = error
    for name in names:
        if name not in behind:
            try:
                await_in_mesh(session, name, joined.mesh.mesh_id, asked_s)
            except PotluckError as error:
                behind[name] = error
    if behind:
        why = "; ".join(map(str, behind.values()))
        raise Unavailable(
            f"this machine has joined the mesh of {joined.inviter}, and {', '.join(behind)} did not follow ({why}):"
            " end it and start it again"
        )


def _interface_of(session: Session, names: Sequence[str]) -> str | None:
    """On which the first of the running nodes was told to stay: whoever it is to meet is there, too."""
    for name in names[:1]:
        with connected(replace(session, node=name)) as connection:
            interface: str | None = ask_json(connection, AskStatus)["interface"]
            return interface
    return None


def _address(peer: str) -> Address:
    from ..overlay.ports import Address

    host, _, port = peer.rpartition(":")
    if ":" in host:
        raise UsageError(f"peer {peer!r}: nodes speak IPv4; write it HOST:PORT, with such an address or a name")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) <= 65_535:
        raise UsageError(f"peer {peer!r}: write it HOST:PORT")
    return Address(host, int(port))


def _pair(data_dir: Path, code: Code, where: Where, *, anew: bool) -> Joined:
    import trio

    from ..discovery.knocking import join
    from ..node.system import SystemEntropy
    from ..overlay.identity.joining import check_may_move, open_owner
    from ..overlay.identity.keys import KeyPair

    entropy = SystemEntropy()
    owner, mesh = open_owner(data_dir, entropy)
    if anew:
        owner = KeyPair.from_seed(entropy.token(32))
    else:
        check_may_move(mesh)
    try:
        return trio.run(join, code, owner, where, entropy)
    except BaseExceptionGroup as group:
        if group.subgroup(KeyboardInterrupt) is None:
            raise
        raise KeyboardInterrupt from None  # trio hands Ctrl+C on in the nursery it fell into
