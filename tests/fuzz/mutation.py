"""Mutations that keep a body well-formed: msgpack of the wrong shape gets further than bytes that do not parse."""

from __future__ import annotations

import math
import random
from typing import Any

import msgspec
from msgspec.msgpack import Ext

_ODD: tuple[Any, ...] = (
    *(None, True, 0, 1, -1, 255, 1 << 31, 1 << 50, 1 << 53, (1 << 63) - 1, (1 << 64) - 1, -(1 << 63)),
    *(0.0, -0.5, 1e308, math.inf, math.nan, "", "x", "\0", "a b", "é", "x" * 257, "../..", "nan"),
    *(b"", b"\0", *(bytes(size) for size in (8, 12, 16, 20, 28, 32, 33, 64, 100, 513))),
    *([], [[]], [0] * 65, {}, {"": 0}, {"a": []}, {0: 0}),
    *(Ext(code, content) for code in (1, 2, 4, 6, 7, 9, 11, 17, 18, 19, 99, -1) for content in (b"", b"\x90", b"\xc0")),
)
_DEPTH = 150


def mutated(data: bytes, draws: random.Random) -> bytes:
    """One thing in it changed: a value exchanged, doubled, dropped or buried; a byte, in what is no msgpack."""
    try:
        return msgspec.msgpack.encode(_changed(msgspec.msgpack.decode(data), draws))
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError, OverflowError):
        return _cut(data, draws)


def _changed(value: Any, draws: random.Random) -> Any:
    if isinstance(value, Ext):
        return Ext(value.code, mutated(bytes(value.data), draws)) if draws.random() < 0.7 else _odd(value, draws)
    if not isinstance(value, list) or not value or draws.random() < 0.1:
        return _odd(value, draws)
    place, changed = draws.randrange(len(value)), list(value)
    match draws.randrange(8):
        case 0:
            del changed[place]
        case 1:
            changed.insert(place, draws.choice(_ODD))
        case 2:
            changed += changed[place:] * draws.choice((1, 2, 40))
        case 3:
            other = draws.randrange(len(value))
            changed[place], changed[other] = changed[other], changed[place]
        case _:
            changed[place] = _changed(changed[place], draws)
    return changed


def _odd(value: Any, draws: random.Random) -> Any:
    if isinstance(value, int) and draws.random() < 0.3:
        return value ^ 1 << draws.randrange(63)
    if isinstance(value, bytes | str) and draws.random() < 0.3:
        return value * draws.choice((2, 20)) if draws.random() < 0.5 else value[:-1]
    if draws.random() < 0.05:
        for _ in range(_DEPTH):
            value = [value]
        return value
    return draws.choice(_ODD)


def _cut(data: bytes, draws: random.Random) -> bytes:
    if not data:
        return bytes([draws.randrange(256)])
    start, size = draws.randrange(len(data)), draws.choice((1, 1, 2, 8))
    piece = draws.choice((b"", draws.randbytes(size), data[start : start + size] * 2))
    return data[:start] + piece + data[start + size :]
