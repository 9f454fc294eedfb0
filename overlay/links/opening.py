"""The opening of a conversation: each side proves who it is and says what it can do.

A banned peer is told nothing after its HANDSHAKE but the ban that shuts it out, which it can verify. Where the two hold
different bans they exchange them before anything else, and judge each other by the union.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Literal, TypeVar

import msgspec

from .. import errors
from ..clock import Said
from ..errors import NotAllowed, RemoteProtocolError, Unavailable
from ..identity.bans import BANS_MAX, BanSet
from ..identity.certificates import Member, verify_chain
from ..identity.mesh import Identity
from ..ids import NodeId, OwnerId
from ..ports import Address
from ..wire.bans import Ban, Bans, paged
from ..wire.capabilities import Capabilities
from ..wire.codec import Message
from ..wire.framing import OLDEST_WIRE_VERSION, WIRE_VERSION
from ..wire.opening import ConnectAck, ConnectRequest, Handshake, HandshakeResponse
from .conversation import Conversation

BANNED: Final = "this machine is banned from the mesh"

Purpose = Literal["control", "bulk"]
M = TypeVar("M", bound=Message)


class PeerInfo(msgspec.Struct, frozen=True):
    """Who is at the other end, proved; and what it says of itself."""

    node_id: NodeId
    owner_id: OwnerId
    name: str
    address: Address
    """Where it listens, as reached from here."""
    boot_id: bytes
    incarnation: int
    capabilities: Capabilities
    chain: tuple[bytes, ...]
    public_key: bytes
    said: Said
    """Of its clock."""
    ban_digest: bytes
    """Of bans of ours that it knows, all of them."""
    ban_digest_said: bytes
    """Of those that it had when the opening began."""
    has_another: bool = True
    """Link to this node, by what it said when this one was opened."""


class Introduction(msgspec.Struct, frozen=True):
    """What this node says of itself at every opening."""

    identity: Identity
    bans: BanSet
    says: Callable[[], Said]
    """Of its clock."""
    capabilities: Callable[[], Capabilities]
    incarnation: Callable[[], int]
    listening_port: Callable[[], int]

    def fields(self) -> tuple[list[bytes], bytes, bytes, float, Capabilities, int, float, float]:
        identity, said = self.identity, self.says()
        return (
            list(identity.chain),
            self.bans.digest,
            identity.boot_id,
            said.time_s,
            self.capabilities(),
            self.incarnation(),
            said.age_s,
            said.wall_s,
        )


IsLinked = Callable[[bytes], bool]
"""Whether this node has a link to the one of this id."""


async def open_as_initiator(
    conversation: Conversation, me: Introduction, purpose: Purpose, is_linked: IsLinked = lambda _: True
) -> PeerInfo:
    """Raises NotAllowed, Unavailable, RemoteProtocolError."""
    identity = me.identity
    request = ConnectRequest(identity.node_id, identity.name, me.listening_port(), purpose)
    await conversation.send(request)
    ack = await _expect(conversation, ConnectAck)
    if not ack.accepted:
        refusal = errors.from_wire(ack.code, ack.reason)
        # The peer chooses the code, but not what whoever dials has to be ready for.
        raise refusal if isinstance(refusal, Unavailable | NotAllowed) else NotAllowed(ack.reason)
    handshake = Handshake(*me.fields(), linked=is_linked(ack.node_id))
    await conversation.send(handshake)
    answer = await _introduction(conversation, me.bans)
    member = verify_chain(answer.chain, identity.mesh.root_der, conversation.stream.leaf_der)
    _check_id(member, ack.node_id)
    digest = handshake.ban_digest
    await _check_bans(conversation, me.bans, member, answer.chain, telling=answer.ban_digest != digest)
    if answer.ban_digest != digest:
        told = list(me.bans)
        await _tell(conversation, told)
        heard = await _hear(conversation, me.bans)
        digest = b"" if me.bans.beyond([*told, *heard]) else me.bans.digest
    me.bans.check(member.node_id, answer.chain)
    return _peer_info(member, ack, answer, conversation.stream.remote, digest)


async def open_as_responder(
    conversation: Conversation, me: Introduction, is_linked: IsLinked = lambda _: True
) -> tuple[PeerInfo, Purpose]:
    """Raises NotAllowed, LinkLost, RemoteProtocolError. The peer's chain is verified before it is answered."""
    identity = me.identity
    request = await _expect(conversation, ConnectRequest)
    if refusal := _refusal(request, identity):
        await conversation.send(
            ConnectAck(
                False,
                identity.node_id,
                identity.name,
                me.listening_port(),
                WIRE_VERSION,
                refusal.wire_code,
                str(refusal),
            )
        )
        raise refusal
    version = min(request.version_max, WIRE_VERSION)
    await conversation.send(ConnectAck(True, identity.node_id, identity.name, me.listening_port(), version))
    handshake = await _expect(conversation, Handshake)
    member = verify_chain(handshake.chain, identity.mesh.root_der, conversation.stream.leaf_der)
    _check_id(member, request.node_id)
    await _check_bans(conversation, me.bans, member, handshake.chain, telling=True)
    response = HandshakeResponse(*me.fields(), linked=is_linked(member.node_id))
    await conversation.send(response)
    digest = response.ban_digest
    if handshake.ban_digest != digest:
        heard = await _hear(conversation, me.bans)
        if me.bans.concern_this_node(heard):
            raise NotAllowed(BANNED)
        me.bans.check(member.node_id, handshake.chain)
        digest = me.bans.digest
        await _tell(conversation, me.bans.beyond(heard))
    me.bans.check(member.node_id, handshake.chain)
    return _peer_info(member, request, handshake, conversation.stream.remote, digest), request.purpose


async def _introduction(conversation: Conversation, bans: BanSet) -> HandshakeResponse:
    """The responder's. Raises NotAllowed where it shows a ban instead."""
    answer = await conversation.receive()
    if isinstance(answer, HandshakeResponse):
        return answer
    assert isinstance(answer, Bans)
    bans.learn(answer.bans)
    raise NotAllowed(BANNED if bans.concern_this_node(answer.bans) else "refused for no reason")


async def _check_bans(
    conversation: Conversation, bans: BanSet, member: Member, chain: Sequence[bytes], *, telling: bool
) -> None:
    """Raises NotAllowed for a banned peer; `telling` it why first."""
    try:
        bans.check(member.node_id, chain)
    except NotAllowed:
        if telling:
            await conversation.send(next(paged(bans.against(chain)[:1])))
        raise


async def _tell(conversation: Conversation, bans: list[Ban]) -> None:
    for page in paged(bans):
        await conversation.send(page)


async def _hear(conversation: Conversation, bans: BanSet) -> list[Ban]:
    """Takes in what the peer tells, page by page."""
    heard: list[Ban] = []
    more = True
    while more:
        page = await _expect(conversation, Bans)
        heard += page.bans
        if len(heard) > BANS_MAX or (page.more and not page.bans):
            raise RemoteProtocolError("the peer tells of more bans than there can be")
        bans.learn(page.bans)
        more = page.more
    return heard


def _refusal(request: ConnectRequest, identity: Identity) -> errors.PotluckError | None:
    if request.node_id == identity.node_id:
        return NotAllowed("this is the same node")
    if request.version_min > WIRE_VERSION or request.version_max < OLDEST_WIRE_VERSION:
        return NotAllowed(
            f"no common wire version: {request.version_min} to {request.version_max} there, "
            f"{OLDEST_WIRE_VERSION} to {WIRE_VERSION} here"
        )
    return None


async def _expect(conversation: Conversation, message_type: type[M]) -> M:
    """The session's table leaves only one type possible here."""
    message = await conversation.receive()
    assert isinstance(message, message_type)
    return message


def _check_id(member: Member, claimed: bytes) -> None:
    if member.node_id != claimed:
        raise RemoteProtocolError("the peer claims another id than its certificate gives it")


def _peer_info(
    member: Member,
    hello: ConnectRequest | ConnectAck,
    intro: Handshake | HandshakeResponse,
    remote: Address,
    ban_digest: bytes,
) -> PeerInfo:
    return PeerInfo(
        node_id=member.node_id,
        owner_id=member.owner_id,
        name=hello.name,
        address=Address(remote.host, hello.port),
        boot_id=intro.boot_id,
        incarnation=intro.incarnation,
        capabilities=intro.capabilities,
        chain=tuple(intro.chain),
        public_key=member.node_public_key,
        said=Said(intro.time_s, intro.age_s, intro.wall_s),
        ban_digest=ban_digest,
        ban_digest_said=intro.ban_digest,
        has_another=intro.linked,
    )
