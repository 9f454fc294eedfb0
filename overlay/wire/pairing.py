"""Joining a mesh by invite code, over a TLS channel in which only the inviter has shown a certificate (and that one
proves nothing to the joiner). SPAKE2 proves to each that the other knows the code and sits at the channel's other end.

joiner                                   inviter
ASK       ──────────────────────────────▶
          ◀──────────────────────────────  REPLY        or REFUSAL
CONFIRM   ──────────────────────────────▶               the joiner proves itself first
          ◀──────────────────────────────  ADMIT        or REFUSAL
"""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from .beacon import InviteNumber
from .codec import Codec, Count, Digest, Message, NodeName, ShortText
from .opening import CertificateDer

PAIRING_FRAME_BYTES_MAX: Final = 48 << 10
ASKING_FRAME_BYTES_MAX: Final = 512

Element = Annotated[bytes, Meta(min_length=33, max_length=33)]
"""Of SPAKE2: the side, then a point of the curve."""
PublicKey = Annotated[bytes, Meta(min_length=32, max_length=32)]


class Ask(Message, frozen=True, tag=1):
    number: InviteNumber
    element: Element
    owner_public_key: PublicKey
    """Whose machine wants in; part of what is confirmed."""


class Reply(Message, frozen=True, tag=2):
    element: Element


class Confirm(Message, frozen=True, tag=3):
    """A value that only who knows the code can derive."""

    proof: Digest


class Admit(Message, frozen=True, tag=4):
    proof: Digest
    sealed: Annotated[bytes, Meta(max_length=PAIRING_FRAME_BYTES_MAX - 256)]
    """An AdmissionBody under a key that only the two derive."""


class Refusal(Message, frozen=True, tag=5):
    """The wire code of an error and a reason for a person. The exchange is over."""

    code: Count
    reason: ShortText


class AdmissionBody(Message, frozen=True, tag=6):
    root: CertificateDer
    tag_key: Digest
    owner_chain: Annotated[list[CertificateDer], Meta(min_length=1, max_length=8)]
    inviter: NodeName
    owner_key_pem: Annotated[bytes, Meta(max_length=512)] = b""


TO_INVITER: Final[Codec[Ask | Confirm]] = Codec([Ask, Confirm], body_bytes_max=ASKING_FRAME_BYTES_MAX)
TO_JOINER: Final[Codec[Reply | Admit | Refusal]] = Codec(
    [Reply, Admit, Refusal], body_bytes_max=PAIRING_FRAME_BYTES_MAX
)
ADMISSION: Final[Codec[AdmissionBody]] = Codec([AdmissionBody], body_bytes_max=PAIRING_FRAME_BYTES_MAX)
