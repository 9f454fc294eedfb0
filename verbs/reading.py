"""JSON that people type."""

from __future__ import annotations

import json
import math


def json_of(text: str) -> object:
    """Raises ValueError for what is not JSON, and for what would not come out as it was written."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"JSON knows no {text}")
