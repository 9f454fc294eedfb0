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


def encode_frame(body: bytes, *, body_bytes_max: int = CONTROL_FRAME_BYTES_MAX) -> bytes:
    if len(body) > body_bytes_max:
        raise LocalProtocolError(f"a frame of {len(body)} bytes exceeds the limit of {body_bytes_max}")
    return _HEADER.pack(len(body), WIRE_VERSION) + body


class FrameDecoder:
    """Cuts a byte stream into frame bodies. `body_bytes_max` may be raised while running."""

    def __init__(self, body_bytes_max: int) -> None:
        self.body_bytes_max = body_bytes_max
        self._buffer = bytearray()
        self._start = 0

    def feed(self, chunk: bytes | bytearray | memoryview) -> None:
        if self._start:
            del self._buffer[: self._start]
            self._start = 0
        self._buffer += chunk

    @property
    def pending_bytes(self) -> int:
        return len(self._buffer) - self._start

    def next_body(self) -> bytes | None:
        """The next whole body, or None when more bytes are needed.

        Raises RemoteProtocolError for a frame that is too long or of a version we do not speak.
        """
        if self.pending_bytes < HEADER_BYTES:
            return None
        length, version = _HEADER.unpack_from(self._buffer, self._start)
        if not OLDEST_WIRE_VERSION <= version <= WIRE_VERSION:
            raise RemoteProtocolError(f"wire version {version} is not spoken here")
        if length > self.body_bytes_max:
            raise RemoteProtocolError(f"a frame of {length} bytes exceeds the limit of {self.body_bytes_max}")
        end = self._start + HEADER_BYTES + length
        if len(self._buffer) < end:
            return None
        body = bytes(memoryview(self._buffer)[self._start + HEADER_BYTES : end])
        self._start = end
        return body
