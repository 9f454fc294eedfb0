"""What a node wrote by another time than the mesh's, said again in the mesh's time.

A machine whose clock was an hour ahead has written records that lie in the others' future: they would keep none of
them; one whose clock was behind has written records that look an hour older than they are. So when a node takes on the
time of a mesh, each record of its own moves by the same step that it has written since it was on its own: what it wrote
five minutes ago is five minutes old for everybody, expires when it was meant to, and loses to what was written since.
What it wrote in an earlier life, when it had met the mesh, stays as it is.
"""

from __future__ import annotations

import msgspec

from ..clock import COUNTER_BITS
from ..identity.keys import KeyPair
from ..wire.records import Record
from .records import signed_bytes


def moved_version(version: int, step_s: float) -> int:
    return max(1, version + (round(step_s * 1000) << COUNTER_BITS))


def restated(record: Record, step_s: float, key: KeyPair) -> Record:
    """`key` is that of the record's publisher."""
    version = moved_version(record.version, step_s)
    moved = msgspec.structs.replace(record, version=version, expires_at_s=record.expires_at_s + step_s)
    return msgspec.structs.replace(moved, signature=key.sign(signed_bytes(moved)))
