"""Sizes as people write them."""

from __future__ import annotations

from typing import Final

from ..overlay.errors import UsageError

_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


def size_of(text: str) -> int:
    """Bytes, of `1500000`, `512M` or `2G`. Raises UsageError."""
    number = text.strip().upper().removesuffix("B").removesuffix("I")
    unit = number[-1:] if number[-1:] in _UNITS else ""
    try:
        size_bytes = int(float(number.removesuffix(unit)) * _UNITS[unit])
        if size_bytes < 0:
            raise ValueError
    except (ValueError, OverflowError):
        raise UsageError(f"{text!r} is no size: write 512M or 2G") from None
    return size_bytes
