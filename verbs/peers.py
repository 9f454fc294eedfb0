"""`potluck peers`."""

from __future__ import annotations

from typing import Any

from ..overlay.wire.control import AskPeers
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .rendering import duration_text, size_text, table


@verb("peers", summary="List the nodes of the mesh.")
def command(session: Session) -> Answer:
    """List the nodes of the mesh, this one included."""
    with connected(session) as connection:
        peers: list[dict[str, Any]] = ask_json(connection, AskPeers)
    headings = ("NAME", "STATE", "ADDRESS", "BUSY", "QUEUED", "MEMORY FREE", "HEARD OF", "NODE ID")
    return Answer(peers, table(headings, [_row(peer) for peer in peers]))


def _row(peer: dict[str, Any]) -> tuple[str, ...]:
    load = peer.get("load") or {}
    return (
        peer["name"] + (" *" if peer.get("self") else ""),
        peer["state"] + (f", {load['closed']}" if load.get("closed") else ""),
        peer.get("address") or "-",
        f"{load.get('busy', 0)}/{load.get('slots', 0)}",
        str(load.get("queued", 0)),
        size_text(load.get("memory_free", 0)),
        "-" if peer.get("self") else f"{duration_text(peer.get('age_s') or 0.0)} ago",
        peer["node_id"][:12],
    )
