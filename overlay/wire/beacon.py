"""DISCOVER and HELLO on UDP multicast. They are hints: nothing in them is believed until TLS proves it."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

from .codec import Codec, Message
from .opening import Port

BEACON_BYTES_MAX: Final = 512

Tag = Annotated[bytes, Meta(min_length=16, max_length=16)]
Nonce = Annotated[bytes, Meta(min_length=8, max_length=8)]


class Discover(Message, frozen=True, tag=7):
    """Who of this mesh is here? Answer: HELLO on the group."""

    mesh_tag: Tag
    sender: Nonce
    """Drawn at every start; tells a node its own echo, and nothing to others."""
    port: Port


class Hello(Message, frozen=True, tag=8):
    """I am, at this port of the address this comes from."""

    mesh_tag: Tag
    sender: Nonce
    port: Port


BEACON: Final[Codec[Discover | Hello]] = Codec([Discover, Hello], body_bytes_max=BEACON_BYTES_MAX)

InviteNumber = Annotated[int, Meta(ge=1, le=99)]


class Seek(Message, frozen=True, tag=9):
    """Who has an open invite of this number? The number is the public part of a code. Answer: OFFER on the group."""

    number: InviteNumber
    seeker: Nonce
    """Drawn for this search; comes back in the offer."""


class Offer(Message, frozen=True, tag=10):
    """I have, at this port of the address this comes from. Anyone may say so: the code will tell."""

    number: InviteNumber
    seeker: Nonce
    inviter: Nonce
    """The same in all offers of one inviter, which may have several addresses."""
    port: Port


SEEKING: Final[Codec[Seek | Offer]] = Codec([Seek, Offer], body_bytes_max=BEACON_BYTES_MAX)
