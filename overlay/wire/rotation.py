"""Rotation: a mesh goes on under a new root. Told over links while it happens, and at the door to who was away.

returning member                         a node under the new root
RETURN    ──────────────────────────────▶               in TLS that has proved a leaf of the former root
          ◀──────────────────────────────  ROTATED      or REFUSAL
"""

from __future__ import annotations

from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .bans import Ban
from .codec import Codec, Message
from .opening import CertificateDer
from .pairing import Refusal

RETURNING_FRAME_BYTES_MAX: Final = 48 << 10
KEPT_MAX: Final = 1024


class Rotation(msgspec.Struct, frozen=True, array_like=True):
    """What `identity.rotation` makes and judges. Held by every node for ever."""

    former_root: CertificateDer
    root: CertificateDer
    kept: Annotated[list[CertificateDer], Meta(min_length=1, max_length=KEPT_MAX)]
    """New certificates of the owners that the former root had let in: whoever rotates first, by the new root; the
    others by that owner. Whom they in turn have let in keeps its certificates."""
    bans: Annotated[list[Ban], Meta(max_length=4096)]
    """Those that the new root writes again, with its signature."""
    signature: Annotated[bytes, Meta(min_length=64, max_length=64)]
    """By the former root, of everything before."""


class Rotated(Message, frozen=True, tag=61):
    rotation: Rotation


class Return(Message, frozen=True, tag=62):
    """A member of a former root, with its chain, leaf first."""

    chain: Annotated[list[CertificateDer], Meta(min_length=2, max_length=8)]


TO_NEW_ROOT: Final[Codec[Return]] = Codec([Return], body_bytes_max=RETURNING_FRAME_BYTES_MAX)
TO_RETURNING: Final[Codec[Rotated | Refusal]] = Codec([Rotated, Refusal])
