"""Local health and the patience that follows from it: Lifeguard (Dadgar, Phillips, Currey, 2018).

A node that hears nothing from many is more likely slow itself than they are dead. So its own failures make it wait
longer (§IV.A), and a suspicion waits long for others to confirm it, the shorter the more of them do (§IV.B).
"""

from __future__ import annotations

import math
from typing import Final

from ..config import Membership as MembershipConfig

WORST: Final = 3
"""§V.A, `S`, is 8 there: nine times the usual patience. Four times leaves a node that is cut off able to tell."""
_WITNESSES_MAX: Final = 6
_WITNESSES_FEW: Final = 3
ENOUGH_OTHERS: Final = 2 * _WITNESSES_MAX - 2
"""More than these change nothing about who could confirm."""


class LocalHealth:
    """0 is well. Switched off, it always is."""

    def __init__(self, config: MembershipConfig) -> None:
        self._on = config.local_health
        self._score = 0

    @property
    def scale(self) -> int:
        """By how much probes wait longer, and come rarer."""
        return self._score + 1

    def better(self) -> None:
        self._score = max(0, self._score - 1)

    def worse(self, by: int = 1) -> None:
        if self._on:
            self._score = min(WORST, self._score + by)


def witnesses(others: int) -> int:
    """How many should confirm a suspicion before it is trusted most; `others` are alive and could."""
    return min(others, (others + 2) // 2, _WITNESSES_MAX)


def suspicion_s(config: MembershipConfig, others: int, judges: int, confirmations: int) -> float:
    """From suspected to dead. Grows with the logarithm of the mesh, for a refutation has to travel; where few could
    confirm, time makes up for them. Of the `others` that are alive, `judges` were there when the suspect was last
    heard: who came later has never known it, and is not waited for."""
    needed = witnesses(judges) if config.local_health else 0
    least_s = config.suspicion_s * max(1.0, math.log10(others + 2))
    if config.local_health:
        least_s *= 1 + max(0, _WITNESSES_FEW - needed) / _WITNESSES_FEW / 2
    most_s = max(least_s, config.suspicion_max_s)
    if needed == 0:
        return least_s
    return max(least_s, most_s - (most_s - least_s) * math.log(confirmations + 1) / math.log(needed + 1))
