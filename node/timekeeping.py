"""Telling the people at a machine that its clock is wrong: once for every change, however long it lasts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import trio

from ..overlay.bell import Bell
from ..overlay.clock import MeshTime

logger = logging.getLogger("potluck.node")

WRONG_S: Final = 10.0
"""Nobody notices less, and a clock that is kept right by the network is off by milliseconds."""
RIGHT_S: Final = 5.0
"""Below `WRONG_S`, so that a clock at the border is not told of again and again."""
_LOOK_AGAIN_S: Final = 30.0
"""Only for a wall clock that somebody sets; that the mesh's time has moved is known at once."""


class Teller:
    """Engine: what has been told of this clock, and when to say more."""

    def __init__(self) -> None:
        self._told_s = 0.0

    def look(self, error_s: float) -> float | None:
        """The error to tell now, 0 for a clock that is right again; None when there is nothing new."""
        is_wrong = abs(error_s) > (RIGHT_S if self._told_s else WRONG_S)
        if not is_wrong and not self._told_s:
            return None
        if is_wrong and self._told_s and abs(error_s - self._told_s) <= WRONG_S:
            return None
        self._told_s = error_s if is_wrong else 0.0
        return self._told_s


def error_text(error_s: float) -> str:
    """One line for a person."""
    if not error_s:
        return "this machine's clock agrees with the others' again"
    side = "ahead of" if error_s > 0 else "behind"
    return f"this machine's clock is {abs(error_s):.0f} s {side} the others' (the time of the mesh is used)"


class Timekeeping:
    """Shell. `tell(error_s)` is called for every change."""

    def __init__(self, mesh_time: MeshTime, tell: Callable[[float], None]) -> None:
        self._mesh_time = mesh_time
        self._tell = tell
        self._teller = Teller()
        self._stepped = Bell()
        mesh_time.stepped.append(lambda step_s: self._stepped.ring())

    @property
    def error_s(self) -> float:
        """How far this machine's wall clock is ahead of the others'."""
        return self._mesh_time.wall_error_s()

    async def run(self) -> None:
        while True:
            news_s = self._teller.look(self.error_s)
            if news_s is not None:
                logger.warning("%s", error_text(news_s))
                self._tell(news_s)
            with trio.move_on_after(_LOOK_AGAIN_S):
                await self._stepped.heard()
