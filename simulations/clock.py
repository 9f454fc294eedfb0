"""`ports.WallClock` in virtual time."""

from __future__ import annotations

from typing import Final

import trio

EPOCH_S: Final = 1_700_000_000.0
"""Unix time at which every simulation begins."""


class VirtualWallClock:
    """Unix time as one machine believes it to be: `offset_s` ahead of the truth, and going `drift` too fast."""

    def __init__(self, offset_s: float = 0.0) -> None:
        self.offset_s = offset_s
        self._drift = 0.0
        self._drifts_since_s = 0.0

    def now_s(self) -> float:
        return EPOCH_S + trio.current_time() + self.offset_s + self._drifted_s()

    def _drifted_s(self) -> float:
        return self._drift * (trio.current_time() - self._drifts_since_s) if self._drift else 0.0

    def set_drift(self, drift: float) -> None:
        """From now on: seconds gained by the second. What it has gained stays."""
        self.offset_s += self._drifted_s()
        self._drift, self._drifts_since_s = drift, trio.current_time()

    def running_s(self) -> float:
        return trio.current_time()
