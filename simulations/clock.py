"""`ports.WallClock` in virtual time."""

from __future__ import annotations

from typing import Final

import trio

EPOCH_S: Final = 1_700_000_000.0
"""Unix time at which every simulation begins."""


class VirtualWallClock:
    """Unix time as one machine believes it to be: `offset_s` ahead of the truth."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s

    def now_s(self) -> float:
        return EPOCH_S + trio.current_time() + self.offset_s

    def running_s(self) -> float:
        return trio.current_time()
