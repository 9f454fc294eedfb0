"""What lies on a disk for long with a checksum: what the disk has garbled is recognised, not believed."""

from __future__ import annotations

import hashlib
from typing import Final

_CHECKSUM_BYTES: Final = 8


def sealed(content: bytes) -> bytes:
    return _checksum(content) + content


def opened(written: bytes) -> bytes | None:
    """None where the disk does not give back what was written."""
    checksum, content = written[:_CHECKSUM_BYTES], written[_CHECKSUM_BYTES:]
    return content if checksum == _checksum(content) else None


def _checksum(content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_CHECKSUM_BYTES).digest()
