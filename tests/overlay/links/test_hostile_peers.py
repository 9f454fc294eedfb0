"""Members that hold on to what others have only so much of, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from potluck.overlay import boundary
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.errors import LinkLost, NotAllowed
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.mesh import Identity
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.link import Link
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction, PeerInfo, open_as_initiator
from potluck.overlay.ports import Address
from potluck.overlay.session.states import Role
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.opening import DisconnectRequest
from potluck.overlay.wire.work import ObjectRelease
from potluck.simulations import determinism
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork

from ...strategies.identities import member

CONNECTIONS_MAX = 16


def _config(identity: Identity) -> Config:
    return Config(identity.name, Path("nowhere"), Path("nowhere"))


def _introduction(identity: Identity) -> Introduction:
    bans = BanSet(identity.mesh.root_der)
    return Introduction(identity, bans, lambda: Said(0.0, 0.0), Capabilities, lambda: 1, lambda: 9000)


class Hostile:
    """Speaks the opening as it should be, and nothing else unless told."""

    def __init__(self, ether: Ether, number: int) -> None:
        self.identity = member(number)
        self._network = VirtualNetwork(ether, f"10.0.0.{number}", _config(self.identity), self.identity)

    async def open(self, address: Address, *, bulk: bool = False) -> Conversation:
        conversation = Conversation(await self._network.dial(address), Role.INITIATOR)
        await open_as_initiator(conversation, _introduction(self.identity), "bulk" if bulk else "control")
        return conversation

    async def knock(self, address: Address) -> Conversation:
        """A connection, and not a word."""
        return Conversation(await self._network.dial(address), Role.INITIATOR)


@asynccontextmanager
async def a_node(ether: Ether, faults: list[Exception] | None = None) -> AsyncIterator[tuple[Links, Address]]:
    identity = member(1)
    config = _config(identity)
    failed = boundary.log if faults is None else lambda what, fault: faults.append(fault)
    links = Links(VirtualNetwork(ether, "10.0.0.1", config, identity), _introduction(identity), config.links, failed)
    links.on_bulk(_serve if faults is None else _fail)
    async with trio.open_nursery() as nursery:
        yield links, await nursery.start(links.run)
        nursery.cancel_scope.cancel()


async def _serve(conversation: Conversation, peer: PeerInfo) -> None:
    while True:
        await conversation.receive()


async def _fail(conversation: Conversation, peer: PeerInfo) -> None:
    raise KeyError("nobody has thought of that")


def test_a_peer_that_says_goodbye_and_reads_nothing_is_soon_forgotten() -> None:
    async def story() -> None:
        ether = Ether(seed=1)
        async with a_node(ether) as (links, address):
            peer = Hostile(ether, 2)
            conversation = await peer.open(address)
            await trio.sleep(0.1)
            link = links.get(peer.identity.node_id)
            assert link is not None
            for _ in range(40):  # more than is under way at once, and less than costs the link
                link.post(ObjectRelease([bytes(16)] * 4000))
            await conversation.send(DisconnectRequest())
            await trio.sleep(3)
            assert link.lost
            assert links.get(peer.identity.node_id) is None

    determinism.run(story, seed=1)


@pytest.mark.parametrize("bulk", [True, False])
def test_one_node_holds_only_so_many_connections_and_keeps_nobody_out(bulk: bool) -> None:
    async def story() -> None:
        ether = Ether(seed=1)
        async with a_node(ether) as (links, address):
            greedy, other = Hostile(ether, 2), Hostile(ether, 3)
            held = [
                await greedy.open(address, bulk=True) if bulk else await greedy.knock(address)
                for _ in range(CONNECTIONS_MAX)
            ]
            await trio.sleep(0.1)
            for _ in range(50):
                with pytest.raises((LinkLost, NotAllowed)):
                    await greedy.open(address)
            await other.open(address)
            await trio.sleep(0.1)
            assert links.get(other.identity.node_id) is not None
            await held[0].aclose()
            await trio.sleep(0.1)
            await greedy.open(address)
            await trio.sleep(0.1)
            assert links.get(greedy.identity.node_id) is not None

    determinism.run(story, seed=1)


def test_an_opening_that_trickles_ends_in_time() -> None:
    async def story() -> None:
        ether = Ether(seed=1)
        async with a_node(ether) as (_, address):
            conversation = await Hostile(ether, 2).knock(address)
            began_s = trio.current_time()
            with pytest.raises(LinkLost), trio.fail_after(60):
                for byte in bytes([0, 0, 200, 1] + [0x90] * 200):
                    await conversation.stream.send_all(bytes([byte]))
                    await trio.sleep(0.5)
            assert trio.current_time() - began_s < 8

    determinism.run(story, seed=1)


@pytest.mark.parametrize("later", [False, True], ids=["at once", "in a task of its own"])
def test_a_peer_who_finds_a_fault_of_ours_loses_its_link_alone(later: bool) -> None:
    async def story() -> None:
        ether, faults = Ether(seed=1), list[Exception]()
        async with a_node(ether, faults) as (links, address), trio.open_nursery() as nursery:

            def release(link: Link, message: Message) -> None:
                if later:
                    nursery.start_soon(link.guarded, fail)
                else:
                    raise KeyError("nobody has thought of that")

            links.on(ObjectRelease, release)
            finder, other = Hostile(ether, 2), Hostile(ether, 3)
            conversation, _ = await finder.open(address), await other.open(address)
            await conversation.send(ObjectRelease([bytes(16)]))
            await trio.sleep(0.1)
            assert [type(fault) for fault in faults] == [KeyError]
            assert links.get(finder.identity.node_id) is None
            assert links.get(other.identity.node_id) is not None

    async def fail() -> None:
        raise KeyError("nobody has thought of that")

    determinism.run(story, seed=1)


def test_a_connection_for_objects_that_finds_a_fault_of_ours_ends_alone() -> None:
    async def story() -> None:
        ether, faults = Ether(seed=1), list[Exception]()
        async with a_node(ether, faults) as (links, address):
            await Hostile(ether, 2).open(address, bulk=True)
            other = Hostile(ether, 3)
            await other.open(address)
            await trio.sleep(0.1)
            assert [type(fault) for fault in faults] == [KeyError]
            assert links.get(other.identity.node_id) is not None

    determinism.run(story, seed=1)
