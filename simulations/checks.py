"""What must hold after a scenario. Each check has a name, and says what it has seen."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from .events import Event

FAULTS_SHOWN: Final = 4


class Check(msgspec.Struct, frozen=True):
    name: str
    held: bool
    detail: str

    def as_dict(self) -> dict[str, object]:
        return {"name": self.name, "held": self.held, "detail": self.detail}


def check(name: str, faults: Iterable[str], otherwise: str) -> Check:
    """Holds if nothing is wrong; else its detail is the first few faults and their number."""
    found = list(faults)
    if not found:
        return Check(name, held=True, detail=otherwise)
    more = f"; and {len(found) - FAULTS_SHOWN} more" if len(found) > FAULTS_SHOWN else ""
    return Check(name, held=False, detail="; ".join(found[:FAULTS_SHOWN]) + more)


class Departure(msgspec.Struct, frozen=True):
    """A node that has gone, and who was there to notice: those that ran from then on until the time was up."""

    name: str
    at_s: float
    event: str
    """What the others should say of it: `died` or `left`."""
    within_s: float
    observers: tuple[str, ...]


class Chronicle:
    """The log of events, asked who said what of whom when."""

    def __init__(self, events: Sequence[Event]) -> None:
        self._said: dict[tuple[str, str, str], list[float]] = {}
        for event in events:
            self._said.setdefault((event.node, event.event, event.detail), []).append(event.at_s)

    def first_s(self, observer: str, event: str, subject: str, since_s: float) -> float | None:
        times = self._said.get((observer, event, subject), ())
        return next((at_s for at_s in times if at_s >= since_s), None)

    def said(self, event: str) -> Iterable[tuple[str, str, float]]:
        """Observer, subject and time of every such event."""
        return (
            (observer, subject, at_s)
            for (observer, what, subject), times in self._said.items()
            if what == event
            for at_s in times
        )


def delays(chronicle: Chronicle, departures: Iterable[Departure]) -> list[float]:
    """How long each observer took to notice, where it did."""
    return [
        noticed - one.at_s
        for one in departures
        for observer in one.observers
        if (noticed := chronicle.first_s(observer, one.event, one.name, one.at_s)) is not None
    ]


def unnoticed(chronicle: Chronicle, departures: Iterable[Departure]) -> Iterable[str]:
    for one in departures:
        for observer in one.observers:
            noticed = chronicle.first_s(observer, one.event, one.name, one.at_s)
            if noticed is None:
                yield f"{observer} never said that {one.name} {one.event}"
            elif noticed - one.at_s > one.within_s:
                yield f"{observer} said only after {noticed - one.at_s:.2f} s that {one.name} {one.event}"
