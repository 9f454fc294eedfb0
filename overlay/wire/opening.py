"""The beginning and the end of a link. After TLS:

initiator                                  responder
CONNECT_REQUEST   ──────────────────────▶
                  ◀──────────────────────  CONNECT_ACK         refused: both close
HANDSHAKE         ──────────────────────▶                      chain, bans, boot id, capabilities
                  ◀──────────────────────  HANDSHAKE_RESPONSE
                        … ready …
DISCONNECT_REQUEST ─────────────────────▶                      either side may begin
                  ◀──────────────────────  DISCONNECT_ACK
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from .capabilities import Capabilities
from .codec import BootId, Count, Digest, Message, NodeName, RawId, Real, ShortText
from .framing import OLDEST_WIRE_VERSION, WIRE_VERSION

CertificateDer = Annotated[bytes, Meta(min_length=1, max_length=4096)]
Port = Annotated[int, Meta(ge=0, le=65_535)]


class ConnectRequest(Message, frozen=True, tag=1):
    """Initiator, first. `bulk` connections carry objects only and count as no neighbour."""

    node_id: RawId
    name: NodeName
    port: Port
    """Where the sender listens; its host is the one the connection comes from."""
    purpose: Literal["control", "bulk"] = "control"
    version_min: Count = OLDEST_WIRE_VERSION
    version_max: Count = WIRE_VERSION


class ConnectAck(Message, frozen=True, tag=2):
    """Responder. A refusal has the wire code of an error and a reason for a person."""

    accepted: bool
    node_id: RawId
    name: NodeName
    port: Port
    version: Count = WIRE_VERSION
    code: Count = 0
    reason: ShortText = ""


class _Introduction(Message, frozen=True):
    chain: Annotated[list[CertificateDer], Meta(min_length=1, max_length=9)]
    """Leaf first, root last left out; the leaf must be the TLS leaf byte for byte."""
    ban_digest: Digest
    """Of the sender's whole set of bans, compared before anything else is served."""
    boot_id: BootId
    time_s: Real
    """With `age_s` and `wall_s`, what the sender says of its clock (`clock.Said`)."""
    capabilities: Capabilities
    incarnation: Count = 0
    age_s: Real = 0.0
    wall_s: Real = 0.0
    linked: bool = True
    """The sender has another link to the receiver."""


class Handshake(_Introduction, frozen=True, tag=3):
    """Initiator, once the connection is acknowledged."""


class HandshakeResponse(_Introduction, frozen=True, tag=4):
    """Responder, once it has verified the initiator's chain. Both sides are ready."""


class DisconnectRequest(Message, frozen=True, tag=5):
    """Either side of a ready link: a graceful end. `leaving` says the node leaves the mesh, not just this link."""

    leaving: bool = False
    reason: ShortText = ""


class DisconnectAck(Message, frozen=True, tag=6):
    """Everything that came before the request has been taken in; the link may close."""
