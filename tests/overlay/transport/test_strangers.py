"""Strangers and members gone bad, on real sockets: whatever they do ends their connection, never the node."""

from __future__ import annotations

import random
import resource
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

import psutil
import pytest
import trio
from potluck.overlay.errors import BY_WIRE_CODE, LinkLost, NotAllowed, Unavailable
from potluck.overlay.identity.certificates import issue
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.opening import open_as_initiator
from potluck.overlay.ports import Address, Stream
from potluck.overlay.session.states import Role
from potluck.overlay.transport.tcp import TcpNetwork
from potluck.overlay.transport.tls import make_context
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.framing import WIRE_VERSION, encode_frame
from potluck.overlay.wire.gossip import PeerExchange, Probe
from potluck.overlay.wire.opening import ConnectAck, ConnectRequest, Handshake
from potluck.overlay.wire.peer import PEER, PEER_MESSAGES
from potluck.overlay.wire.work import ObjectWant

from ...strategies.identities import key, member
from ...strategies.messages import simplest
from . import members
from .members import LIMITS, Member, a_folder, ends, introduction, network, running, tls_files

ALICE, BOB, MALLORY, STRANGER = member(1), member(2), member(3), member(4, secret=2, owner=2)

Attack = Callable[[Address, Path], Awaitable[None]]


def attacked(*attacks: Attack, repeat: int = 1) -> list[Member]:
    """Alice serves, each attack is run, and Bob can talk to her before and after."""

    async def scenario() -> list[Member]:
        with a_folder() as folder:
            async with running(folder, ALICE, BOB) as (alice, bob):
                await bob.ping(alice)
                for attack in attacks * repeat:
                    with trio.fail_after(20):
                        await attack(alice.address, folder)
                    await bob.ping(alice)
                assert {link.peer.node_id for link in alice.links} <= {BOB.node_id, MALLORY.node_id}
                assert BOB.node_id not in {link.peer.node_id for link in alice.lost}
                for link in list(bob.links):
                    link.lose(LinkLost("so that a new one has to be made"))
                await trio.testing.wait_all_tasks_blocked(0.01)
                await bob.ping(alice)
                return [alice, bob]

    return trio.run(scenario)


def saying(data: bytes, *, then_wait: bool = True) -> Attack:
    async def attack(address: Address, folder: Path) -> None:
        stream = await trio.open_tcp_stream(address.host, address.port)
        async with stream:
            try:
                await stream.send_all(data)
                if then_wait:
                    await stream.send_eof()
            except trio.BrokenResourceError:
                return  # cut off in the middle of it
            if then_wait:
                await ends(stream)

    return attack


async def tls_with(context: ssl.SSLContext, address: Address) -> None:
    """TLS 1.3 tells a client of its refusal only when it reads."""
    stream = trio.SSLStream(await trio.open_tcp_stream(address.host, address.port), context)
    try:
        await stream.do_handshake()
        await stream.send_all(PEER.encode(ConnectRequest(STRANGER.node_id, "stranger", 1)))
    except trio.BrokenResourceError:
        pass  # refused at once
    else:
        await ends(stream)
    await trio.aclose_forcefully(stream)


async def without_a_certificate(address: Address, folder: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    await tls_with(context, address)


async def with_old_tls(address: Address, folder: Path) -> None:
    files = tls_files(folder, MALLORY.chain, MALLORY.key, MALLORY.mesh.root_der)
    context = make_context(server=False, root_der=files.root_der, chain_path=files.chain_path, key_path=files.key_path)
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    await tls_with(context, address)


async def with_a_certificate_of_another_mesh(address: Address, folder: Path) -> None:
    files = tls_files(folder, STRANGER.chain, STRANGER.key, ALICE.mesh.root_der)
    context = make_context(server=False, root_der=files.root_der, chain_path=files.chain_path, key_path=files.key_path)
    await tls_with(context, address)
    with pytest.raises(NotAllowed):
        await network(folder, STRANGER).dial(address)


async def with_a_certificate_that_a_node_signed(address: Address, folder: Path) -> None:
    leaf = issue(MALLORY.key, key(77).public, may_issue=False)
    for chain in ((leaf, *MALLORY.chain), (leaf, *MALLORY.mesh.owner_chain)):
        files = tls_files(folder, chain, key(77), MALLORY.mesh.root_der)
        context = make_context(
            server=False, root_der=files.root_der, chain_path=files.chain_path, key_path=files.key_path
        )
        await tls_with(context, address)


async def by_hanging_up_at_once(address: Address, folder: Path) -> None:
    """Resets, as port scanners do: the connection is gone before anyone has looked at it."""
    for _ in range(50):
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        one.connect(tuple(address))
        one.close()
    await trio.testing.wait_all_tasks_blocked(0.05)


STRANGERS: dict[str, Attack] = {
    "nothing": saying(b""),
    "http": saying(b"GET / HTTP/1.1\r\nHost: potluck\r\n\r\n"),
    "random bytes": saying(random.Random(1).randbytes(100_000)),
    "half a client hello": saying(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100)),
    "a client hello of any bytes": saying(
        b"\x16\x03\x01\x00\x80\x01\x00\x00\x7c\x03\x03" + random.Random(2).randbytes(200)
    ),
    "our frames without tls": saying(PEER.encode(ConnectRequest(MALLORY.node_id, "m", 1))),
    "hanging up half way": saying(b"\x16\x03\x01", then_wait=False),
    "resets": by_hanging_up_at_once,
    "no certificate": without_a_certificate,
    "old tls": with_old_tls,
    "another mesh": with_a_certificate_of_another_mesh,
    "signed by a node": with_a_certificate_that_a_node_signed,
}


@pytest.mark.parametrize("attack", STRANGERS.values(), ids=STRANGERS.keys())
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_2:DeprecationWarning")
def test_a_stranger_gets_nothing_and_breaks_nothing(attack: Attack) -> None:
    attacked(attack)


def opening(
    *, claims: bytes = MALLORY.node_id, chain: tuple[bytes, ...] = MALLORY.chain, wall_time_s: float = 0.0
) -> list[bytes]:
    handshake = Handshake(list(chain), bytes(32), MALLORY.boot_id, wall_time_s, Capabilities())
    return [PEER.encode(ConnectRequest(claims, "mallory", 1)), PEER.encode(handshake)]


def member_says(*parts: bytes) -> Attack:
    """A real member, over real TLS, saying these bytes; the connection must end of itself."""

    async def attack(address: Address, folder: Path) -> None:
        stream = await network(folder, MALLORY).dial(address)
        try:
            for part in parts:
                await stream.send_all(part)
        except LinkLost:
            pass  # it has ended already
        await ends(stream)
        await stream.aclose()

    return attack


_ODD_CERTIFICATE = ALICE.chain[1].replace(b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x09", 1)

OPENINGS: dict[str, Attack] = {
    "4 GiB announced": member_says(b"\xff\xff\xff\xff" + bytes([WIRE_VERSION])),
    "a long frame before the link is ready": member_says(encode_frame(bytes(65 << 10))),
    "a wire version of the future": member_says(b"\0\0\0\1\x09\xc0"),
    "bytes that are no message": member_says(encode_frame(random.Random(3).randbytes(500))),
    "a message out of turn": member_says(PEER.encode(PeerExchange())),
    "the id of another": member_says(*opening(claims=BOB.node_id)),
    "the id of the very node": member_says(*opening(claims=ALICE.node_id)),
    "the chain of another": member_says(*opening(chain=BOB.chain)),
    "the chain of another and its id": member_says(*opening(claims=BOB.node_id, chain=BOB.chain)),
    "a chain of another mesh": member_says(*opening(chain=(MALLORY.chain[0], *STRANGER.chain[1:]))),
    "a chain without its end": member_says(*opening(chain=MALLORY.chain[:1])),
    "a chain with a certificate of no known version": member_says(*opening(chain=(MALLORY.chain[0], _ODD_CERTIFICATE))),
    "a chain of junk": member_says(*opening(chain=(MALLORY.chain[0], b"\x30\x03\x02\x01\x01"))),
    "no common version": member_says(PEER.encode(ConnectRequest(MALLORY.node_id, "m", 1, "control", 7, 9))),
    "half an opening, then nothing": member_says(opening()[0]),
    "bulk that nobody serves": member_says(
        PEER.encode(ConnectRequest(MALLORY.node_id, "m", 1, "bulk")),
        opening()[1],
        PEER.encode(ObjectWant(0, bytes(16))),
    ),
}


@pytest.mark.parametrize("attack", OPENINGS.values(), ids=OPENINGS.keys())
def test_a_member_that_opens_wrongly_loses_its_connection(attack: Attack) -> None:
    alice, _ = attacked(attack)
    assert MALLORY.node_id not in {link.peer.node_id for link in [*alice.links, *alice.lost]}


_ILLEGAL_WHEN_READY = [
    "ConnectRequest",
    "ConnectAck",
    "Handshake",
    "HandshakeResponse",
    "DisconnectAck",
    "ObjectWant",
    "ObjectComes",
    "ObjectMissing",
]


def test_a_member_that_says_what_it_may_not_loses_its_link_and_no_more() -> None:
    samples = {message.__name__: PEER.encode(simplest(message)) for message in PEER_MESSAGES}
    attacked(*(ready_then(samples[name]) for name in _ILLEGAL_WHEN_READY), ready_then(b"\xff\xff\xff\xff\1"))


def test_a_member_that_says_what_it_may_not_while_we_leave_harms_nobody() -> None:
    """Alice says goodbye; instead of acknowledging, Mallory asks for objects."""

    async def scenario() -> None:
        with a_folder() as folder:
            async with running(folder, ALICE, BOB) as (alice, bob):
                await bob.ping(alice)
                conversation = await ready(alice.address, folder)
                while (link := alice.links.get(MALLORY.node_id)) is None:
                    await trio.testing.wait_all_tasks_blocked(0.01)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(_goodbye, link)
                    await conversation.receive()
                    await conversation.stream.send_all(PEER.encode(ObjectWant(0, bytes(16))))
                await ends(conversation.stream)
                await conversation.aclose()
                await bob.ping(alice)

    trio.run(scenario)


async def _goodbye(link: members.Link) -> None:
    await link.disconnect(leaving=True, reason="enough")


async def ready(address: Address, folder: Path) -> Conversation:
    conversation = Conversation(await network(folder, MALLORY).dial(address), Role.INITIATOR)
    await open_as_initiator(conversation, introduction(MALLORY), "control")
    return conversation


def ready_then(data: bytes) -> Attack:
    async def attack(address: Address, folder: Path) -> None:
        conversation = await ready(address, folder)
        await conversation.stream.send_all(data)
        await ends(conversation.stream)
        await conversation.aclose()

    return attack


@pytest.mark.parametrize("code", [0, *BY_WIRE_CODE, 99])
def test_whatever_a_peer_refuses_a_link_with_is_one_of_two_errors(code: int) -> None:
    """Whoever dials handles Unavailable and NotAllowed; a peer cannot make it raise anything else."""

    async def refuse(stream: Stream) -> None:
        conversation = Conversation(stream, Role.RESPONDER)
        await conversation.receive()
        await conversation.send(ConnectAck(False, MALLORY.node_id, "mallory", 1, code=code, reason="no"))
        await conversation.aclose()

    async def scenario() -> None:
        with a_folder() as folder:
            async with running(folder, ALICE) as (alice,), trio.open_nursery() as nursery:
                address: Address = await nursery.start(network(folder, MALLORY).serve, refuse)
                with pytest.raises((Unavailable, NotAllowed), match="no"):
                    await alice.links.connect(address)
                nursery.cancel_scope.cancel()

    trio.run(scenario)


@pytest.mark.parametrize("host", ["", "a" * 64, "a..b", "x\0y", "\ud800", "é" * 100, "::1", "256.0.0.1", "-"])
def test_a_host_that_makes_no_sense_cannot_be_reached_and_that_is_all(host: str) -> None:
    """Hosts come from other members' gossip."""

    async def scenario() -> None:
        with a_folder() as folder, pytest.raises(Unavailable):
            await network(folder, ALICE).dial(Address(host, 1))

    trio.run(scenario)


def test_a_thousand_silent_connections_keep_no_member_out_and_leave_nothing_behind() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < 4096:
        pytest.skip("too few file descriptors are allowed here")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 4096), hard))
    process = psutil.Process()

    async def scenario() -> None:
        with a_folder() as folder:
            async with running(folder, ALICE, BOB) as (alice, bob):
                before_fds, before_bytes = process.num_fds(), process.memory_info().rss
                silent = [await trio.open_tcp_stream(*alice.address) for _ in range(1000)]
                for n, stream in enumerate(silent):
                    if n % 2:
                        try:
                            await stream.send_all(b"\x16\x03\x01\x02")  # half-open: a record that never ends
                        except trio.BrokenResourceError:
                            pass  # this one was given up already
                with trio.fail_after(LIMITS.handshake_timeout_s):
                    await bob.ping(alice)
                server = alice.links.network
                assert isinstance(server, TcpNetwork)
                assert len(server._pending) <= LIMITS.pending_max
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert process.num_fds() - before_fds <= len(silent) + LIMITS.pending_max + 16
                assert process.memory_info().rss - before_bytes < 64 << 20
                for stream in silent:
                    await trio.aclose_forcefully(stream)
                with trio.fail_after(LIMITS.handshake_timeout_s + 3):
                    while process.num_fds() > before_fds + 8:  # noqa: ASYNC110 - closing a file wakes nobody
                        await trio.sleep(0.02)
                assert not server._pending
                await bob.ping(alice)

    try:
        trio.run(scenario)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_flood_of_forged_probes_is_answered_or_cut_and_others_are_served() -> None:
    """A member that asks and never reads is given up when its answers pile up."""

    async def flood(address: Address, folder: Path) -> None:
        conversation = await ready(address, folder)
        frames = b"".join(PEER.encode(Probe(n, 0.0)) for n in range(2000))
        with trio.move_on_after(1.0):
            while True:
                try:
                    await conversation.stream.send_all(frames)
                except LinkLost:
                    break
        conversation.stream._socket.close()

    attacked(flood)
