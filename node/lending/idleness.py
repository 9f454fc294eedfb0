"""Engine: whether the owner is at the machine.

    AWAY ──a terminal was used, or other programs are busy──▶ PRESENT
    PRESENT ──neither for `quiet_s`──▶ AWAY

A machine just started is taken to have its owner before it. One busy look may be a clock-work of the system's own; two
in a row are somebody.
"""

from __future__ import annotations

from typing import Final

from ...overlay.ports import Look

BUSY_LOOKS: Final = 2


class Idleness:
    def __init__(self, now_s: float, quiet_s: float, busy_cpus_max: float) -> None:
        self._quiet_s = quiet_s
        self._busy_cpus_max = busy_cpus_max
        self._busy_looks = 0
        self._seen_s = now_s
        """When the owner was last there."""

    def looked(self, now_s: float, look: Look) -> None:
        self._busy_looks = self._busy_looks + 1 if look.busy_cpus > self._busy_cpus_max else 0
        if self._busy_looks >= BUSY_LOOKS:
            self._seen_s = now_s
        self._seen_s = max(self._seen_s, now_s - max(0.0, look.untouched_s))

    def is_away(self, now_s: float) -> bool:
        return now_s - self._seen_s >= self._quiet_s
