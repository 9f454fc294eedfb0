"""`potluck mesh members`, `mesh ban NAME` and `mesh rotate`."""

from __future__ import annotations

import datetime
import sys
import time
from typing import Any, Final

import click

from ..client.connection import Connection
from ..overlay.errors import Cancelled, UsageError
from ..overlay.wire.control import AskMembers, Ban, Rotate
from .answer import Answer, Session, verb
from .asking import ask_json, await_in_mesh, connected
from .rendering import table

_SHORT: Final = 12


@verb("members", summary="List who is of the mesh.")
def _members(session: Session) -> Answer:
    """List who is of the mesh as far as this node has met them, running or not, and who let them in."""
    with connected(session) as connection:
        members: list[dict[str, Any]] = ask_json(connection, AskMembers)
    headings = ("NAME", "OWNER", "INVITED BY", "KNOWN SINCE", "NODE ID", "")
    return Answer(members, table(headings, [_row(member) for member in members]))


def _row(member: dict[str, Any]) -> tuple[str, ...]:
    since = datetime.datetime.fromtimestamp(member["since"]).astimezone()
    inviter = member["invited_by"]
    return (
        member["name"],
        member["owner"][:_SHORT],
        inviter[:_SHORT] if inviter else "a founder",
        since.strftime("%Y-%m-%d %H:%M"),
        member["node_id"][:_SHORT],
        "banned" if member["banned"] else "",
    )


@verb("ban", summary="Shut a member out for ever.")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def _ban(session: Session, name: str, yes: bool) -> Answer:
    """Shut the owner of the node NAME out for ever, with all their machines and whomever they have let in. Who let them
    in may, and those above, and founders of the mesh. Who falls without fault can be invited again."""
    with connected(session) as connection:
        if not yes:
            _confirm(connection, name, as_json=session.as_json)
        answer: dict[str, list[str]] = ask_json(connection, Ban, name)
    return Answer(answer, f"banned: {', '.join(answer['banned'])}")


@verb("rotate", summary="Give the mesh a new root.")
@click.option("--without", metavar="NAME", multiple=True, help="Leave the founder of this node behind.")
def _rotate(session: Session, without: tuple[str, ...]) -> Answer:
    """Give the mesh a new root and secret: for founders, when the old secret may be in other hands. Everybody is kept,
    and who is away finds back by itself, but for the founders that are left behind, with whomever they have let in."""
    with connected(session) as connection:
        name = connection.greeted.result().name
        asked_s = time.monotonic()
        answer: dict[str, Any] = ask_json(connection, Rotate, list(without))
    await_in_mesh(session, name, answer["root"], asked_s)
    left = f"left behind: {', '.join(answer['left_out'])}" if answer["left_out"] else ""
    return Answer(answer, f"the mesh is {answer['root']} now", left)


def _confirm(connection: Connection, name: str, *, as_json: bool) -> None:
    """Raises UsageError without a person to ask, and Cancelled when that says no."""
    falls = ask_json(connection, Ban, name, True)["banned"]
    told = f"this bans {', '.join(falls)} for ever, and drops what they were the last to write in the mesh's memory"
    if as_json or not sys.stdin.isatty():
        raise UsageError(f"{told}: say --yes")
    if not click.confirm(f"{told}. Go on?", err=True):
        raise Cancelled("nobody was banned")


command = click.Group(
    "mesh",
    commands=[_members, _ban, _rotate],
    help="Show who is of the mesh, shut members out, and give it a new root.",
    no_args_is_help=False,
    short_help="Who is of the mesh: members, ban, rotate.",
)
