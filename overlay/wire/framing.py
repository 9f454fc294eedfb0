"""Frames: 4-byte big-endian length of the body, 1-byte wire version, body.

The length is judged before a byte of the body is kept, so that an announced 4 GiB costs nothing.
"""

from __future__ import annotations

import struct
from typing import Final

from ..errors import LocalProtocolError, RemoteProtocolError

WIRE_VERSION: Final = 1
OLDEST_WIRE_VERSION: Final = 1

VALUE_BYTES_MAX: Final = 1 << 20
ENVELOPE_BYTES_MAX: Final = 16 << 10
"""Room for ids, signatures and lengths around one value of the largest size."""
CONTROL_FRAME_BYTES_MAX: Final = VALUE_BYTES_MAX + ENVELOPE_BYTES_MAX
OPENING_FRAME_BYTES_MAX: Final = 64 << 10
"""Before a link is ready, a peer has nothing long to say."""
WORKER_FRAME_BYTES_MAX: Final = 1 << 30
"""A pipe to a process on this machine carries arguments and results whole."""

_HEADER: Final = struct.Struct(">IB")
HEADER_BYTES: Final = _HEADER.size

_CHUNKS_MAX: Final = 256
_CHUNK_BYTES: Final = 1 << 10
"""So many that are shorter than this on the average are kept as one: whoever sends byte by byte does not fill memory
with them."""


def encode_frame(body: bytes, *, body_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> bytes:
    if len(body) > body_bytes_max:
        raise LocalProtocolError(f"a frame of {len(body)} bytes exceeds the limit of {body_bytes_max}")
    return _HEADER.pack(len(body), WIRE_VERSION) + body


class FrameDecoder:
    """Cuts a byte stream into frame bodies. `body_bytes_max` may be raised while running.

    What comes is kept as it came until a frame is whole: a long one is put together once.
    """

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self._chunks: list[bytes] = []
        self._settled = 0
        """Of the chunks, those that stay as they are until a frame is whole."""
        self._fresh_bytes = 0
        """In the others."""
        self._start = 0
        """Where the next frame begins in the first chunk."""
        self._pending_bytes = 0
        self._wanted_bytes = HEADER_BYTES
        """Without so many there is nothing to look at."""

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        if chunk:
            self._chunks.append(bytes(chunk))
            self._pending_bytes += len(chunk)
            self._fresh_bytes += len(chunk)
            if len(self._chunks) - self._settled >= _CHUNKS_MAX:
                self._settle()

    def take_rest(self) -> bytes:
        """What has come behind the last body, which is no part of a frame."""
        if self._chunks:
            self._join()
        rest = b"".join(self._chunks)
        self._drop(len(rest))
        return rest

    @property
    def pending_bytes(self) -> int:
        return self._pending_bytes

    def next_body(self) -> bytes | None:
        """The next whole body, or None when more bytes are needed.

        Raises RemoteProtocolError for a frame that is too long or of a version we do not speak.
        """
        if self._pending_bytes < self._wanted_bytes:
            return None
        if len(self._chunks) > 1:
            self._join()
        data, start = self._chunks[0], self._start
        length, version = _HEADER.unpack_from(data, start)
        if not OLDEST_WIRE_VERSION <= version <= WIRE_VERSION:
            raise RemoteProtocolError(f"wire version {version} is not spoken here")
        if length > self.body_bytes_max:
            raise RemoteProtocolError(f"a frame of {length} bytes exceeds the limit of {self.body_bytes_max}")
        frame_bytes = HEADER_BYTES + length
        if self._pending_bytes < frame_bytes:
            self._wanted_bytes = frame_bytes
            return None
        self._drop(frame_bytes)
        return data[start + HEADER_BYTES : start + frame_bytes]

    def _drop(self, frame_bytes: int) -> None:
        self._start += frame_bytes
        self._pending_bytes -= frame_bytes
        self._wanted_bytes = HEADER_BYTES
        if not self._pending_bytes:
            self._chunks.clear()
            self._start = self._settled = self._fresh_bytes = 0

    def _settle(self) -> None:
        """Copies what has come since the last time, and nothing that it has copied before."""
        if self._fresh_bytes < _CHUNKS_MAX * _CHUNK_BYTES:
            self._chunks[self._settled :] = [b"".join(self._chunks[self._settled :])]
        self._settled, self._fresh_bytes = len(self._chunks), 0

    def _join(self) -> None:
        first = memoryview(self._chunks[0])[self._start :]
        self._chunks = [b"".join([first, *self._chunks[1:]])]
        self._start, self._settled, self._fresh_bytes = 0, 1, 0
