"""The mesh tag: a keyed hash that changes every hour. It tells members of the mesh apart from others, and a listener
nothing, not even that two hours' beacons come from one mesh."""

from __future__ import annotations

import hashlib
from hmac import compare_digest
from typing import Final

TAG_BYTES: Final = 16
PERIOD_S: Final = 3600.0
_PERIODS_ACCEPTED: Final = (0, -1, 1, -2, 2)


def tag(tag_key: bytes, time_s: float, *, periods_later: int = 0) -> bytes:
    period = int(time_s // PERIOD_S) + periods_later
    return hashlib.blake2b(period.to_bytes(8, "big", signed=True), key=tag_key, digest_size=TAG_BYTES).digest()


def is_ours(candidate: bytes, tag_key: bytes, time_s: float) -> bool:
    """Two hours either way are accepted: clocks of a LAN differ, and a beacon is only a hint."""
    return any(compare_digest(candidate, tag(tag_key, time_s, periods_later=n)) for n in _PERIODS_ACCEPTED)
