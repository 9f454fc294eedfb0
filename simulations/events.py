"""What happened, as lines of fixed columns. Equal runs have equal logs, so one digest compares them."""

from __future__ import annotations

import hashlib
import math
from typing import Final, NamedTuple

import msgspec
import trio

TIME_COLUMNS: Final = 12
NODE_COLUMNS: Final = 10
EVENT_COLUMNS: Final = 12


class Event(NamedTuple):
    at_s: float
    node: str
    event: str
    detail: str

    def line(self) -> str:
        at, node, event = (
            f"{self.at_s:{TIME_COLUMNS}.6f}",
            f"{self.node:{NODE_COLUMNS}}",
            f"{self.event:{EVENT_COLUMNS}}",
        )
        return f"{at}  {node}  {event}  {self.detail}".rstrip()


class Span(msgspec.Struct):
    """Of time; it ends never, as long as nobody says when."""

    began_s: float
    ended_s: float = math.inf


class EventLog:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self._digest = hashlib.sha256()

    def note(self, node: str, event: str, detail: str = "") -> None:
        noted = Event(trio.current_time(), node, event, detail)
        self.events.append(noted)
        self._digest.update(noted.line().encode() + b"\n")

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()

    def lines(self) -> list[str]:
        return [event.line() for event in self.events]
