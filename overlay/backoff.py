"""How long to wait before something is tried once more."""

from __future__ import annotations

import math
from typing import Final

_DOUBLINGS_MAX: Final = 60
"""Longer than the universe is old; a float would not hold a thousand."""


def doubled_s(base_s: float, failures: int, most_s: float) -> float:
    """Exponential: `base_s`, twice as long after each of the `failures` so far, and never more than `most_s`."""
    return min(most_s, math.ldexp(base_s, min(failures, _DOUBLINGS_MAX)))
