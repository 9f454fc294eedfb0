"""Engine: what the owner's rules make of tasks that come from elsewhere.

    LENDS ──no──▶ HOLDS: nothing new is taken, what has not begun goes back, what runs stands still
    HOLDS ──yes──▶ LENDS: it goes on where it was
    HOLDS ──`grace_s` later──▶ CLOSED: it goes back, too, to begin anew elsewhere; no retry is used up
    CLOSED ──yes──▶ LENDS

Property: between a no and the next yes nothing from elsewhere runs, and none of it is here longer than the grace.
"""

from __future__ import annotations

import math
from datetime import datetime
from typing import Literal

from .hours import Hours
from .idleness import Idleness

Act = Literal["hold", "hand back", "go on"]

PAUSED = "its owner has paused lending"
IN_USE = "its owner is using it"


class Lending:
    """`reason` says why it does not lend; it is empty while it does."""

    def __init__(self, grace_s: float) -> None:
        self.reason = ""
        self._grace_s = grace_s
        self._close_s = math.inf

    def judged(self, now_s: float, reason: str) -> list[Act]:
        """What is to be done, in order; `reason` is empty for a yes."""
        acts: list[Act] = []
        if reason and not self.reason:
            acts.append("hold")
            self._close_s = now_s + self._grace_s
        elif self.reason and not reason:
            acts.append("go on")
            self._close_s = math.inf
        self.reason = reason
        if now_s >= self._close_s:
            acts.append("hand back")
            self._close_s = math.inf
        return acts

    @property
    def next_s(self) -> float:
        """When it has to be judged anew, whatever happens."""
        return self._close_s


def reason_against(
    paused: bool, hours: Hours | None, wall: datetime | None, idleness: Idleness | None, now_s: float
) -> str:
    """Why a machine is not lent now; empty if it is. What will last longest comes first."""
    if paused:
        return PAUSED
    if hours is not None and wall is not None and not hours.are_on(wall):
        return f"its owner lends it {hours.text}"
    if idleness is not None and not idleness.is_away(now_s):
        return IN_USE
    return ""
