"""Whoever is not of the mesh, or pretends to be somebody else: chains, openings, exchanges, beacons, sessions."""

from __future__ import annotations

from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
from potluck.discovery.beacon import BeaconEngine, Sighted
from potluck.discovery.beacon import Send as SendDatagram
from potluck.discovery.codes import Code
from potluck.discovery.pairing import GUESSES, Invite, Inviter, Invites, Joiner
from potluck.discovery.returning import Keeper
from potluck.discovery.seeking import RESPONDERS_MAX, Offers, Search
from potluck.discovery.tags import tag
from potluck.overlay.clock import Said
from potluck.overlay.config import Discovery
from potluck.overlay.errors import LocalProtocolError, NotAllowed, RemoteProtocolError, Unavailable
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.certificates import issue, owners_of, verify_chain
from potluck.overlay.identity.joining import Admission, admit
from potluck.overlay.identity.rotation import Succession, make_rotation, new_secret
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.opening import Introduction, open_as_initiator, open_as_responder
from potluck.overlay.ports import Address
from potluck.overlay.session.session import NEED_BYTES, Session
from potluck.overlay.session.states import TRANSITIONS, Direction, Role
from potluck.overlay.wire.bans import Ban, Bans
from potluck.overlay.wire.beacon import BEACON, SEEKING, Discover, Hello, Offer, Seek
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.framing import encode_frame
from potluck.overlay.wire.opening import ConnectAck, ConnectRequest, Handshake, HandshakeResponse
from potluck.overlay.wire.pairing import TO_INVITER, TO_JOINER, Admit, Ask, Confirm, Refusal, Reply
from potluck.overlay.wire.peer import PEER, PEER_MESSAGES
from potluck.overlay.wire.rotation import Rotation
from potluck.simulations.entropy import SeededEntropy

from ..strategies.identities import key, member, mesh, node_at, place, root
from ..strategies.messages import fullest, simplest
from .target import Script, Target, piece, to_the_end

_WALL_S = 1.8e9
ME, PEER_MEMBER = member(1), member(2, owner=2)

# Chains


@cache
def _certificates() -> list[bytes]:
    """Of this mesh: a node, its owner, an owner who may not invite with a node of theirs; of another: a node, its
    owner. And what only its issuer would sign."""
    owner, guest = mesh().owner, key(60)
    closed = issue(owner, guest.public, may_issue=True, may_invite=False)
    let_in = issue(guest, key(61).public, may_issue=True)
    stranger = member(3, secret=2)
    return [
        *ME.chain,
        closed,
        issue(guest, key(62).public, may_issue=False),
        let_in,
        issue(key(61), key(63).public, may_issue=False),
        *stranger.chain,
        mesh().root_der,
    ]


def _chain(data: bytes) -> None:
    """Each part is a real certificate, whole or damaged, or made up. Who is believed has shown real ones only."""
    script = Script(data)
    chain = []
    for _ in range(script.below(12)):
        kind = script.below(len(_certificates()) + 1)
        real = _certificates()[kind - 1] if kind else script.piece()
        chain.append(script.damaged(real))
    leaf = chain[0] if chain and script.below(8) == 0 else ME.chain[0]
    member_of_mesh = verify_chain(chain, mesh().root_der, leaf)
    assert set(chain) <= set(_certificates())
    assert owners_of(chain)[0] == member_of_mesh.owner_id


def _chain_seeds() -> list[bytes]:
    """By place in `_certificates`, from 1; 0 is a made-up one."""
    stories = ([1, 2], [4, 3, 2], [6, 5, 3, 2], [7, 8], [2], [1, 9], [1, 2, 2, 2], [9, 9])
    whole = [bytes([len(story)]) + b"".join(bytes([part, 0]) for part in story) for story in stories]
    damaged = [bytes([2, 1, 1, 0, place, 5, 2, 0]) for place in range(0, 256, 16)]
    return [*whole, *damaged, b"\2\0" + piece(_certificates()[0]) + b"\0\2\0"]


# A new root


@cache
def _rotation() -> Rotation:
    secret = new_secret(mesh(), bytes(32))
    return make_rotation(mesh(), secret, root(), [place(5).owner_chain], [_ban(1, 2)], ())


def _succession(data: bytes) -> None:
    """A field or two of the real record, damaged or made up: it is believed as it was written or not at all."""
    script, real = Script(data), _rotation()
    fields: dict[str, Any] = {}
    while script.goes_on and len(fields) < 2:
        match script.below(5):
            case 0:
                fields["root"] = script.damaged(real.root)
            case 1:
                fields["kept"] = [script.damaged(real.kept[0]), *real.kept[script.below(3) :]]
            case 2:
                fields["signature"] = script.damaged(real.signature)
            case 3:
                fields["bans"] = [Ban([script.damaged(one) for one in real.bans[0].chain], 1, bytes(64))]
            case _:
                fields["kept"] = [script.piece()]
    changed = msgspec.structs.replace(real, **fields)
    Succession(changed, mesh().root_der)
    assert changed == real


def _keeper(data: bytes) -> None:
    """Who is told has shown a real chain that was kept."""
    script = Script(data)
    certificates = [*node_at(5).chain, *node_at(1, 2).chain, *ME.chain]
    chain = [script.damaged(certificates[script.below(len(certificates))]) for _ in range(script.below(8))]
    leaf = chain[0] if chain and script.below(2) == 0 else ME.chain[0]
    keeper = Keeper([_rotation()], BanSet(_rotation().root))
    assert keeper.answer(chain, leaf) == _rotation()
    assert tuple(chain) in (node_at(5).chain, ME.chain)


def _keeper_seeds() -> list[bytes]:
    return [bytes([2, first, 0, second, 0, 0]) for first in range(6) for second in range(6)]


# Openings


class _Scripted:
    """A stream on which the other side says what the script wants, and then hangs up."""

    leaf_der = PEER_MEMBER.chain[0]
    remote = Address("10.0.0.2", 9000)

    def __init__(self, script: Script, real: list[bytes]) -> None:
        self._script = script
        self._real = real
        self.sent_bytes = 0

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        self.sent_bytes += len(data)

    async def receive_some(self) -> bytes:
        script = self._script
        if not script.goes_on:
            return b""
        kind = script.below(len(self._real) + 2)
        if kind < len(self._real):
            return script.damaged(self._real[kind])
        return script.piece() if kind == len(self._real) else encode_frame(script.piece())

    async def aclose(self) -> None:
        pass


@cache
def _ban(*owners: int) -> Ban:
    return make_ban(place(*owners).owner_chain, root(), mesh().root_der)


def _introduction() -> Introduction:
    bans = BanSet(mesh().root_der)
    bans.learn([_ban(1, 2)])
    return Introduction(ME, bans, lambda: Said(_WALL_S, 0.0), Capabilities, lambda: 1, lambda: 9000)


@cache
def _introductions(kind: type[Handshake] | type[HandshakeResponse]) -> list[bytes]:
    """With the bans that we hold and with others, whose pages follow."""
    said = [
        kind(list(chain), digest, bytes(16), _WALL_S, Capabilities())
        for chain in (PEER_MEMBER.chain, ME.chain, member(3, secret=2).chain)
        for digest in (_introduction().bans.digest, bytes(32))
    ]
    forged = Ban(_ban(1, 3).chain, 1, bytes(64))
    pages = [Bans([]), Bans([_ban(1, 2), _ban(1, 3)], more=True), Bans([_ban(1, 4)]), Bans([forged])]
    return [PEER.encode(message) for message in (*said, *pages)]


@cache
def _said_to_responder() -> list[bytes]:
    requests = [
        ConnectRequest(PEER_MEMBER.node_id, "peer", 9000),
        ConnectRequest(PEER_MEMBER.node_id, "peer", 9000, "bulk", 0, 9),
        ConnectRequest(ME.node_id, "peer", 9000),
        ConnectRequest(PEER_MEMBER.node_id, "peer", 9000, "control", 7, 9),
    ]
    return [*map(PEER.encode, requests), *_introductions(Handshake)]


@cache
def _said_to_initiator() -> list[bytes]:
    acks = [ConnectAck(True, PEER_MEMBER.node_id, "peer", 9000), ConnectAck(True, ME.node_id, "peer", 9000)]
    acks += [ConnectAck(False, PEER_MEMBER.node_id, "peer", 9000, 1, code, "no") for code in (0, 11, 25, 41, 99)]
    return [*map(PEER.encode, acks), *_introductions(HandshakeResponse)]


def _open_to_a_stranger(data: bytes) -> None:
    stream = _Scripted(Script(data), _said_to_responder())
    peer, _purpose = to_the_end(open_as_responder(Conversation(stream, Role.RESPONDER), _introduction()))
    assert peer.node_id == PEER_MEMBER.node_id, "TLS has proved who it is"
    assert stream.sent_bytes < 16 << 10


def _dial_a_stranger(data: bytes) -> None:
    stream = _Scripted(Script(data), _said_to_initiator())
    peer = to_the_end(open_as_initiator(Conversation(stream, Role.INITIATOR), _introduction(), "control"))
    assert peer.node_id == PEER_MEMBER.node_id
    assert stream.sent_bytes < 16 << 10


def _opening_seeds(real: list[bytes]) -> list[bytes]:
    """Three of the real ones after each other, and one that is made up."""
    pairs = [
        bytes([one, 0, other, 0, last, 0]) for one in range(len(real)) for other, last in pairwise(range(len(real)))
    ]
    return [*pairs, bytes([len(real)]) + piece(real[0]), bytes([0, 0, len(real) + 1]) + piece(real[-1][5:])]


# Sessions

_SAMPLES = [example(message) for message in PEER_MESSAGES for example in (simplest, fullest)]


def _session(data: bytes) -> None:
    """Sends and receives in any order. What comes out was allowed, and once it is broken it stays so."""
    script = Script(data)
    session = Session(list(Role)[script.below(2)])
    while script.goes_on:
        match script.below(4):
            case 0:
                session.receive_bytes(script.piece())
            case 1:
                session.receive_bytes(script.damaged(PEER.encode(_SAMPLES[script.below(len(_SAMPLES))])))
            case 2:
                _send(session, _SAMPLES[script.below(len(_SAMPLES))])
            case _:
                _take_all(session)
    _take_all(session)


def _send(session: Session, message: Message) -> None:
    before = session.state
    try:
        session.send(message)
    except LocalProtocolError:
        assert session.state is before
    else:
        assert (Direction.SENT, type(message)) in TRANSITIONS[session.role][before]


def _take_all(session: Session) -> None:
    while True:
        before = session.state
        try:
            message = session.next_event()
        except RemoteProtocolError as error:
            _check_stays_broken(session, error)
            raise
        if message is NEED_BYTES:
            return
        assert (Direction.RECEIVED, type(message)) in TRANSITIONS[session.role][before]


def _check_stays_broken(session: Session, error: RemoteProtocolError) -> None:
    state = session.state
    session.receive_bytes(PEER.encode(_SAMPLES[0]))
    try:
        session.next_event()
    except RemoteProtocolError as again:
        assert again is error and session.state is state
    else:
        raise AssertionError("a broken session goes on")


def _session_seeds() -> list[bytes]:
    at = {type(sample): 2 * number for number, sample in enumerate(_SAMPLES[::2])}
    received, sent = b"\1%c\0\3", b"\2%c"
    accepted = at[ConnectAck] + 1
    ready = {
        0: sent % at[ConnectRequest] + received % accepted + sent % at[Handshake] + received % at[HandshakeResponse],
        1: received % at[ConnectRequest] + sent % accepted + received % at[Handshake] + sent % at[HandshakeResponse],
    }
    return [
        bytes([role]) + opening + move % number
        for role, opening in ready.items()
        for number in range(len(_SAMPLES))
        for move in (received, sent)
    ]


# Pairing

_CODE = Code(7, ("copper", "lantern"))
_WRONG = Code(7, ("copper", "lamp"))
_CHANNEL = b"the certificate of the channel"


def _admission(invite: Invite, owner_public_key: bytes) -> Admission:
    return admit(mesh(), "north", owner_public_key, invites=False)


@cache
def _said_to_inviter() -> list[bytes]:
    """Also by one who knows the code, at another channel: a recording."""
    entropy = SeededEntropy(3, "joiners")
    real = [Joiner(code, entropy.token, _CHANNEL, key(50).public).start() for code in (_CODE, _WRONG)]
    return [*real, TO_INVITER.encode(fullest(Ask)), TO_INVITER.encode(Confirm(bytes(32)))]


def _inviter(data: bytes) -> None:
    """Nobody here knows the code at this moment: nobody gets in, and every exchange has cost a guess."""
    script, invites = Script(data), Invites()
    token = SeededEntropy(4, "inviter").token
    invite = invites.open(token, lambda _: Invite(_CODE, 600.0))
    del invites._open[next(iter(invites._open))]
    invites._open[_CODE.number] = invite
    inviter = Inviter(invites, token, _CHANNEL, _admission)
    asked, answered_bytes = False, 0
    try:
        while script.goes_on and not inviter.done:
            answered_bytes += len(inviter.receive(0.0, _next(script, _said_to_inviter())))
            asked = asked or invite.under_way > 0
    finally:
        inviter.end()
        assert inviter.admitted is None and invite.uses_left == 1
        assert (invite.guesses_left, invite.under_way) == (GUESSES - bool(asked or invite.guesses_left < GUESSES), 0)
        assert answered_bytes < 1024


def _next(script: Script, real: list[bytes]) -> bytes:
    kind = script.below(len(real) + 1)
    return script.damaged(real[kind]) if kind < len(real) else script.piece()


@cache
def _said_to_joiner() -> list[bytes]:
    token, invites = SeededEntropy(5, "inviters").token, Invites()
    invites._open[_CODE.number] = Invite(_CODE, 600.0)
    reply = Inviter(invites, token, b"another channel", _admission).receive(0.0, _said_to_inviter()[0])
    made_up = [fullest(Reply), Admit(bytes(32), b"x" * 40), Refusal(25, "no"), Refusal(12, "\x1b[2J"), Refusal(0, "")]
    return [reply, *map(TO_JOINER.encode, made_up)]


def _joiner(data: bytes) -> None:
    """Whoever answers does not know the code: no admission is believed."""
    script = Script(data)
    joiner = Joiner(_CODE, SeededEntropy(6, "joiner").token, _CHANNEL, key(50).public)
    said_bytes = 0
    while script.goes_on:
        said_bytes += len(joiner.receive(_next(script, _said_to_joiner())))
        assert joiner.admission is None
        assert said_bytes < 1024


def _dialogue_seeds(count: int) -> list[bytes]:
    """Each of the real ones, and each pair; a byte of damage follows each."""
    ones = [bytes([one, 0]) for one in range(count)]
    return [*ones, *(one + other for one in ones for other in ones), bytes([count]) + piece(b"\0\0\0\1\1\x90")]


# Datagrams

_TAG_KEY = b"k" * 32


@cache
def _datagrams() -> list[bytes]:
    ours, other = tag(_TAG_KEY, _WALL_S), tag(b"o" * 32, _WALL_S)
    beacons = [kind(mark, b"n" * 8, 9000) for kind in (Discover, Hello) for mark in (ours, other)]
    searches = [Seek(7, b"s" * 8), Offer(7, b"s" * 8, b"i" * 8, 9000), Offer(7, b"o" * 8, b"i" * 8, 9000)]
    return [*map(BEACON.encode, beacons), *map(SEEKING.encode, searches)]


def _multicast(data: bytes) -> None:
    """Whatever a datagram holds, it is answered by at most one of ours and one place to look at."""
    script = Script(data)
    beacon = BeaconEngine(Discovery(), _TAG_KEY, b"m" * 8, 9000)
    invites = Invites()
    invites._open[7] = Invite(_CODE, 600.0)
    offers, search = Offers(invites, b"m" * 8, 9000), Search(7, b"s" * 8)
    now_s, found = 0.0, 0
    while script.goes_on:
        now_s += script.below(8) / 4
        host = f"10.0.0.{script.below(4)}"
        datagram = _next(script, _datagrams())
        effects = beacon.received(now_s, _WALL_S + now_s, datagram, host)
        assert [type(effect) for effect in effects] in ([], [Sighted], [Sighted, SendDatagram])
        answer = offers.received(now_s, datagram)
        assert answer is None or len(answer) <= len(datagram) + 16
        found += search.received(datagram, host) is not None
    assert found <= RESPONDERS_MAX


def _datagram_seeds() -> list[bytes]:
    each = [bytes([1, 2, number, 0]) for number in range(len(_datagrams()))]
    return [*each, b"".join(each), *(bytes([0, 0, len(each)]) + piece(one) for one in _datagrams())]


_FROM_PEERS = (NotAllowed, Unavailable, RemoteProtocolError)

TARGETS: dict[str, Target] = {
    "chain": Target(_chain, (NotAllowed,), _chain_seeds, cost=10),
    "responder": Target(_open_to_a_stranger, _FROM_PEERS, lambda: _opening_seeds(_said_to_responder()), cost=10),
    "initiator": Target(_dial_a_stranger, _FROM_PEERS, lambda: _opening_seeds(_said_to_initiator()), cost=10),
    "succession": Target(_succession, (RemoteProtocolError,), lambda: [b"", bytes(9), bytes([2, 1, 3])], cost=20),
    "keeper": Target(_keeper, (NotAllowed,), _keeper_seeds, cost=20),
    "session": Target(_session, (RemoteProtocolError,), _session_seeds, cost=4),
    "inviter": Target(_inviter, (RemoteProtocolError,), lambda: _dialogue_seeds(4), cost=100),
    "joiner": Target(_joiner, _FROM_PEERS, lambda: _dialogue_seeds(6), cost=100),
    "multicast": Target(_multicast, (), _datagram_seeds, cost=20),
}
