"""Real members on loopback: TLS over TCP, links, and an answer to every probe."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import trio
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.config import Links as LinksConfig
from potluck.overlay.errors import LinkLost
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.certificates import to_pem
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Identity
from potluck.overlay.links.link import Link
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction
from potluck.overlay.ports import Address, Stream
from potluck.overlay.transport.tcp import TcpNetwork, TlsFiles
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.gossip import Probe, ProbeAck

LIMITS = LinksConfig(handshake_timeout_s=2.0, pending_max=32)


def tls_files(folder: Path, chain: tuple[bytes, ...], key: KeyPair, root_der: bytes) -> TlsFiles:
    home = Path(tempfile.mkdtemp(dir=folder))
    (home / "chain.pem").write_bytes(to_pem(chain))
    (home / "key").write_bytes(key.to_pem())
    return TlsFiles(root_der, home / "chain.pem", home / "key")


def network(folder: Path, identity: Identity, limits: LinksConfig = LIMITS) -> TcpNetwork:
    files = tls_files(folder, identity.chain, identity.key, identity.mesh.root_der)
    return TcpNetwork(Config(identity.name, folder, folder, "127.0.0.1", links=limits), files)


@dataclass
class Member:
    identity: Identity
    links: Links
    address: Address = field(default=Address("", 0))
    lost: list[Link] = field(default_factory=list)

    async def ping(self, other: Member) -> None:
        """Raises when there is no live conversation to be had."""
        link = await self.links.link_to(other.identity.node_id, other.address)
        await link.request(lambda number: Probe(number, 0.0), ProbeAck, 5.0)


def introduction(identity: Identity, port: int = 1) -> Introduction:
    return Introduction(
        identity, BanSet(identity.mesh.root_der), lambda: Said(0.0, 0.0), Capabilities, lambda: 1, lambda: port
    )


def _answer(link: Link, message: Message) -> None:
    assert isinstance(message, Probe)
    try:
        link.post(ProbeAck(message.request, 0.0))
    except LinkLost:
        pass  # whoever asked has gone


@asynccontextmanager
async def running(folder: Path, *identities: Identity, limits: LinksConfig = LIMITS) -> AsyncIterator[list[Member]]:
    async with trio.open_nursery() as nursery:
        members = []
        for identity in identities:
            links = Links(network(folder, identity, limits), introduction(identity), limits)
            member = Member(identity, links)
            links.on(Probe, _answer)
            links.down.append(member.lost.append)
            member.address = await nursery.start(links.run)
            members.append(member)
        yield members
        nursery.cancel_scope.cancel()


@contextmanager
def a_folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


async def ends(stream: Stream | trio.abc.ReceiveStream) -> None:
    """The other side closes: in an orderly way or not, but soon."""
    with trio.fail_after(5.0):
        while True:
            try:
                if not await stream.receive_some():
                    return
            except (LinkLost, trio.BrokenResourceError):
                return
