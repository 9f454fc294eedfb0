"""What `pause` and `lend` share."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..overlay.wire.control import AskLending
from .answer import Answer, Session
from .asking import ask_json, connected


def lending(session: Session, *, pause: bool | None) -> Answer:
    with connected(session) as connection:
        told: dict[str, Any] = ask_json(connection, AskLending, pause)
    return Answer(told, lending_text(told), _forgotten(told) if told.get("unwritten") else "")


def _forgotten(told: Mapping[str, Any]) -> str:
    """It counts all the same, until the node ends."""
    then = "lends again" if told["paused"] else "is paused again"
    return f"not remembered ({told['unwritten']}): begun anew before there is room, this node {then}"


def lending_text(told: Mapping[str, Any]) -> str:
    rules = [
        *([f"hours {told['hours']}"] if told.get("hours") else []),
        *([f"only after {told['only_when_idle_s']:g} s of idleness"] if told.get("only_when_idle_s") else []),
    ]
    state = "lends" if told.get("lends") else f"lends nothing: {told.get('reason')}"
    return f"{state} ({', '.join(rules)})" if rules else state
