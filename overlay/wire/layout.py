"""How a long payload lies in memory: so that whoever opens it need not move what it holds.

    count, count × size                        big-endian, four and eight bytes each
    part, part, …                              each begins at the next multiple of ALIGNED_BYTES; zeros in between

The first part is the payload's in-band one, the others are its buffers. Arrays that point into it are aligned as
processors like them. It must hold: what is decoded equals what was encoded, and nothing else decodes but an encoding.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final, cast

from ..errors import RemoteProtocolError
from .work import BUFFERS_MAX, Inline

ALIGNED_BYTES: Final = 64
_COUNT: Final = struct.Struct(">I")
_SIZE_BYTES: Final = 8
_ALONE: Final = struct.Struct(">IQ52x")
"""What comes before the part of a payload without buffers."""

Placed = tuple[int, bytes]
"""Where it begins, and what lies there."""


def placed(inline: Inline) -> tuple[int, list[Placed]]:
    """The size of all of it, and what has to be written where; what is left out is zeros."""
    parts = (inline.data, *inline.buffers)
    sizes = [memoryview(part).nbytes for part in parts]
    starts = _starts(sizes)
    header = _COUNT.pack(len(parts)) + struct.pack(f">{len(sizes)}Q", *sizes)
    return starts[-1], [(0, header), *zip(starts, parts, strict=False)]


def encode_inline(inline: Inline) -> bytes:
    if not inline.buffers:
        return _ALONE.pack(1, len(inline.data)) + inline.data
    size_bytes, pieces = placed(inline)
    data = bytearray(size_bytes)
    for start, piece in pieces:
        data[start : start + memoryview(piece).nbytes] = piece
    return bytes(data)


def decode_inline(data: bytes | memoryview) -> Inline:
    """Its parts are slices of `data`: of a view, views, which are as good as bytes to whoever opens a payload.

    Raises RemoteProtocolError.
    """
    sizes = _sizes(data)
    starts = _starts(sizes)
    if starts[-1] != len(data):
        raise RemoteProtocolError("a payload is longer or shorter than it says")
    if any(any(data[end:start]) for end, start in _gaps(sizes, starts)):
        raise RemoteProtocolError("a payload has something between its parts")
    first, *buffers = (data[start : start + size] for start, size in zip(starts, sizes, strict=False))
    return Inline(cast("bytes", first), cast("list[bytes]", buffers))


def _sizes(data: bytes | memoryview) -> tuple[int, ...]:
    if len(data) < _COUNT.size:
        raise RemoteProtocolError("a payload without a beginning")
    (count,) = _COUNT.unpack_from(data)
    if not 1 <= count <= 1 + BUFFERS_MAX or len(data) < _COUNT.size + count * _SIZE_BYTES:
        raise RemoteProtocolError(f"a payload of {count} parts")
    return struct.unpack_from(f">{count}Q", data, _COUNT.size)


def _starts(sizes: Sequence[int]) -> list[int]:
    """Of each part; and in the end, where the last one ends."""
    end = _COUNT.size + len(sizes) * _SIZE_BYTES
    starts = []
    for size in sizes:
        start = -(-end // ALIGNED_BYTES) * ALIGNED_BYTES
        starts.append(start)
        end = start + size
    return [*starts, end]


def _gaps(sizes: Sequence[int], starts: Sequence[int]) -> Iterator[tuple[int, int]]:
    yield _COUNT.size + len(sizes) * _SIZE_BYTES, starts[0]
    yield from ((start + size, following) for (start, following), size in zip(pairwise(starts), sizes, strict=True))
