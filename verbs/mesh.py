"""`potluck mesh members`."""

from __future__ import annotations

import datetime
from typing import Any, Final

import click

from ..overlay.wire.control import AskMembers
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .rendering import table

_SHORT: Final = 12


@verb("members", summary="List who is of the mesh.")
def _members(session: Session) -> Answer:
    """List who is of the mesh as far as this node has met them, running or not, and who let them in."""
    with connected(session) as connection:
        members: list[dict[str, Any]] = ask_json(connection, AskMembers)
    headings = ("NAME", "OWNER", "INVITED BY", "KNOWN SINCE", "NODE ID")
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
    )


command = click.Group(
    "mesh",
    commands=[_members],
    help="Show who is of the mesh.",
    no_args_is_help=False,
    short_help="Show who is of the mesh: members.",
)
