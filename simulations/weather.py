"""What is wrong with the ways of a virtual LAN, each direction for itself.

A stream never loses a byte: a message that is lost is sent again, as TCP does it, and everything behind it waits; one
that is lost too often ends the connection. Datagrams are lost, and come twice. Whoever makes the weather undoes it.
"""

from __future__ import annotations

import math
import random
from typing import Final

from .entropy import named_stream

Way = tuple[str, str]
"""Source and target, as addresses."""

RESEND_S: Final = 0.2
"""The least time after which TCP sends again (Linux); it doubles with every further loss."""
RESENDS_MAX: Final = 4
"""After as many the connection counts as broken. Systems try for minutes; switches and people do not."""
TAIL_SHAPE: Final = 1.5
"""Of the Pareto distribution of delays on a slow way: most are short, one in a thousand is a hundred times longer."""
LATE_MAX_S: Final = 20.0


class Weather:
    """`loss` and `duplicate` hold everywhere until it clears up: the fraction of messages that they hit."""

    def __init__(self, seed: int, loss: float = 0.0, duplicate: float = 0.0) -> None:
        self._seed = seed
        self._loss = loss
        self._duplicate = duplicate
        self._cuts: dict[Way, int] = {}
        self._slow: dict[Way, float] = {}
        self._clogged: dict[Way, int] = {}
        self._streams: dict[Way, random.Random] = {}

    @property
    def resent_max_s(self) -> float:
        """By how much loss makes a message late at most, as long as its connection lasts."""
        return RESEND_S * ((1 << RESENDS_MAX) - 1) if self._loss else 0.0

    # What is made

    def cut(self, way: Way) -> None:
        """Nothing passes; cuts of several causes add up."""
        self._cuts[way] = self._cuts.get(way, 0) + 1

    def mend(self, way: Way) -> None:
        self._cuts[way] -= 1
        if not self._cuts[way]:
            del self._cuts[way]

    def slow(self, way: Way, scale_s: float) -> None:
        """Every message takes so much longer at least, and some very much longer; 0 for no longer."""
        _set(self._slow, way, scale_s)

    def clog(self, way: Way, bytes_per_s: int) -> None:
        """A trickle is left of the bandwidth; 0 for all of it again."""
        _set(self._clogged, way, bytes_per_s)

    def clear_up(self) -> None:
        """From now on no message is lost or doubled."""
        self._loss = self._duplicate = 0.0

    # What it does

    def passes(self, source: str, target: str) -> bool:
        return not self._cuts or (source, target) not in self._cuts

    def bytes_per_s(self, source: str, target: str, fair: int) -> int:
        return self._clogged.get((source, target), fair) if self._clogged else fair

    def late_s(self, source: str, target: str) -> float:
        """By how much this message comes later than in fair weather; infinity when the connection breaks over it."""
        if not (self._loss or self._slow):
            return 0.0
        late_s = self._resent_s((source, target)) if source != target else 0.0
        if scale_s := self._slow.get((source, target)):
            late_s += scale_s * self._draws((source, target)).paretovariate(TAIL_SHAPE)
        return math.inf if late_s == math.inf else min(late_s, LATE_MAX_S)

    def _resent_s(self, way: Way) -> float:
        losses = 0
        while self._loss and self._draws(way).random() < self._loss:
            losses += 1
            if losses > RESENDS_MAX:
                return math.inf
        return RESEND_S * ((1 << losses) - 1)

    def copies(self, source: str, target: str) -> int:
        """How many of a datagram arrive."""
        if source == target or not (self._loss or self._duplicate):
            return 1
        draws = self._draws((source, target))
        return 0 if draws.random() < self._loss else 1 + (draws.random() < self._duplicate)

    def _draws(self, way: Way) -> random.Random:
        if way not in self._streams:
            self._streams[way] = named_stream(self._seed, f"weather/{way[0]}/{way[1]}")
        return self._streams[way]


def _set(table: dict[Way, float] | dict[Way, int], way: Way, value: float) -> None:
    if value:
        table[way] = value  # type: ignore[assignment]
    else:
        table.pop(way, None)
