"""What people type: JSON, and where to be on the network."""

from __future__ import annotations

import json
import math

from ..overlay.errors import ConfigError, UsageError


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


def check_interface(interface: str | None) -> None:
    """Raises UsageError for one that this machine has not."""
    from ..overlay.transport.interfaces import choose

    try:
        choose(interface)
    except ConfigError as error:
        raise UsageError(str(error)) from None
