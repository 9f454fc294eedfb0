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
