"""Processes that have ended, the last ones only, and for a while only: a node has had millions."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, NamedTuple

from .process import Process

KEPT_MAX: Final = 1_000
KEPT_S: Final = 600.0


class Past(NamedTuple):
    process: Process
    how: str
    """`completed`, `moved`, or the kind of error that it ended with."""
    confidential: bool
    """Other nodes hear nothing of it."""


class EndedProcesses:
    """In the order in which they ended."""

    def __init__(self) -> None:
        self._kept: deque[Past] = deque(maxlen=KEPT_MAX)

    def add(self, past: Past) -> None:
        self._kept.append(past)

    def lately(self, now_s: float) -> Iterator[Past]:
        return (past for past in self._kept if now_s - (past.process.times.ended_s or 0.0) <= KEPT_S)
