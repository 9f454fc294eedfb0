"""What people type: JSON, sizes, and where to be on the network."""

from __future__ import annotations

import json
import math
from typing import Final

import click

from ..overlay.errors import ConfigError, UsageError

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


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


def policy(spec: str) -> str:
    """As it was written, if there is such a policy."""
    from ..node.scheduling.catalogue import make

    try:
        make(spec)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    return spec


def size(text: str) -> int:
    """Bytes, of `1500000`, `512M` or `2G`."""
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size_bytes = int(float(number.removesuffix(unit)) * _UNITS[unit])
        if size_bytes < 0:
            raise ValueError
    except (ValueError, OverflowError):
        raise click.BadParameter(f"{text!r} is no size: write 512M or 2G") from None
    return size_bytes
