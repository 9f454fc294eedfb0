"""Values for people and for JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

LONG_LIST: Final = 1_000
_BITS_MAX: Final = 14_000
"""Of an integer that is written in digits, of which Python makes no more than 4 300."""


def jsonable(value: object) -> object:
    """What JSON has no word for becomes the nearest thing: sequences lists, bytes base64, the rest its `repr`."""
    if value is None or isinstance(value, bool | str):
        return value
    if isinstance(value, int):
        return value if value.bit_length() <= _BITS_MAX else hex(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else repr(value)
    if isinstance(value, Mapping):
        return {key if isinstance(key, str) else str(jsonable(key)): jsonable(item) for key, item in value.items()}
    if isinstance(value, list | tuple | range):
        return [jsonable(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((jsonable(item) for item in value), key=repr)
    if isinstance(value, bytes | bytearray):
        return base64.b64encode(value).decode()
    if callable(as_list := getattr(value, "tolist", None)):
        return jsonable(as_list())
    return str(value)


def json_text(value: object) -> str:
    """Also of structs. Long lists by a writer that takes a fifth of the time, where both would say the same."""
    if isinstance(value, list) and len(value) >= LONG_LIST:
        import msgspec

        with suppress(OverflowError):  # of an integer of more than 64 bits
            text = msgspec.json.encode(value)
            if text.isascii():
                return text.decode()
    return json.dumps(value, default=_plain)


def _plain(value: object) -> object:
    import msgspec  # a verb that has none of these starts sooner

    return msgspec.to_builtins(value)


def printable(line: str) -> str:
    """Nothing in it acts on a terminal."""
    return "".join(letter if letter.isprintable() else "?" for letter in line)


def text_of(value: object) -> str:
    """A string as it is, anything else as Python writes it, or where that would take too long as JSON would."""
    try:
        return value if isinstance(value, str) else repr(value)
    except ValueError:  # of the number of digits
        nearest = jsonable(value)
        return nearest if isinstance(nearest, str) else repr(nearest)


def size_text(size_bytes: float) -> str:
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} TiB"


def duration_text(duration_s: float) -> str:
    if duration_s < 60:
        return f"{duration_s:.1f} s"
    minutes, seconds = divmod(int(duration_s), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {seconds} s"


def table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they must be."""
    widths = [max(len(row[column]) for row in (headings, *rows)) for column in range(len(headings))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (headings, *rows)]
    return "\n".join(line.rstrip() for line in lines)
