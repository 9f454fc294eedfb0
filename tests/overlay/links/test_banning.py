"""Links in virtual time: what a banned node reaches, and how fast everybody knows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.errors import LinkLost, NotAllowed, PotluckError
from potluck.overlay.identity.bans import BanSet, make_ban
from potluck.overlay.identity.mesh import Identity
from potluck.overlay.links.banning import Banning
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction
from potluck.overlay.ports import Address
from potluck.overlay.session.states import Role
from potluck.overlay.wire.bans import Ban, Bans
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.opening import ConnectAck, ConnectRequest, Handshake
from potluck.overlay.wire.work import ObjectWant
from potluck.simulations import determinism
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork
from potluck.simulations.store import VirtualDisk, VirtualStore

from ...strategies.identities import node_at, place, root

FOUNDER, GUEST, BELOW = node_at(1, number=1), node_at(1, 2, number=2), node_at(1, 2, 3, number=3)
OTHER, LATE = node_at(1, 4, number=4), node_at(1, 5, number=5)
SOON_S = 0.5


def ban(*path: int) -> Ban:
    mesh = place(*path)
    return make_ban(mesh.owner_chain, root(), mesh.root_der)


class Party:
    def __init__(self, ether: Ether, identity: Identity, disk: VirtualDisk) -> None:
        self.identity = identity
        self.host = f"10.0.0.{identity.name[1:]}"
        config = Config(identity.name, Path("nowhere"), Path("nowhere"))
        self.network = VirtualNetwork(ether, self.host, config, identity)
        self.bans = BanSet(identity.mesh.root_der, identity.mesh.owner_chain)
        self.me = Introduction(
            identity, self.bans, lambda: Said(0.0, 0.0), Capabilities, lambda: 1, lambda: self.links.address.port
        )
        self.links = Links(self.network, self.me, config.links)
        self.met: dict[bytes, tuple[bytes, ...]] = {}
        self.store = VirtualStore(disk, lambda: 0.001)
        self.banning = Banning(identity, self.links, self.store, lambda: list(self.met.items()))  # type: ignore[arg-type]
        self.links.up.append(lambda link: self.met.update({link.peer.node_id: link.peer.chain}))
        self.links.on_bulk(_serve)
        self.address = Address("", 0)

    def linked(self) -> set[str]:
        return {link.peer.name for link in self.links}


async def _serve(conversation: Conversation, peer: object) -> None:
    await trio.sleep_forever()


class World:
    def __init__(self, nursery: trio.Nursery) -> None:
        self.ether = Ether(seed=1)
        self._nursery = nursery
        self._disks: dict[str, VirtualDisk] = {}

    async def up(self, identity: Identity) -> Party:
        party = Party(self.ether, identity, self._disks.setdefault(identity.name, VirtualDisk()))
        await self._nursery.start(party.banning.run)
        party.address = await self._nursery.start(party.links.run)
        return party


@asynccontextmanager
async def world() -> AsyncIterator[World]:
    async with trio.open_nursery() as nursery:
        made = World(nursery)
        yield made
        nursery.cancel_scope.cancel()


def in_virtual_time(scenario: Callable[[World], Awaitable[None]]) -> None:
    async def run() -> None:
        async with world() as made:
            await scenario(made)

    determinism.run(run, seed=1)


async def all_linked(*parties: Party) -> None:
    for n, one in enumerate(parties):
        for other in parties[n + 1 :]:
            await one.links.connect(other.address)
    await trio.sleep(SOON_S)


async def assert_shut_out(banned: Party, node: Party) -> None:
    """Whoever dials."""
    with pytest.raises(PotluckError):
        await banned.links.connect(node.address)
    with pytest.raises(NotAllowed, match="banned"):
        await node.links.connect(banned.address)
    assert banned.identity.name not in node.linked()


def test_when_a_ban_arrives_the_links_of_all_who_fall_end_at_once_everywhere() -> None:
    async def scenario(made: World) -> None:
        parties = [await made.up(identity) for identity in (FOUNDER, GUEST, BELOW, OTHER)]
        founder, guest, below, other = parties
        await all_linked(*parties)
        assert other.linked() == {"n1", "n2", "n3"}
        await founder.banning.proclaim(ban(1, 2))
        await trio.sleep(SOON_S)
        assert founder.linked() == {"n4"}
        assert other.linked() == {"n1"}
        for fallen in (guest, below):
            for node in (founder, other):
                await assert_shut_out(fallen, node)
                assert fallen.identity.node_id in node.bans.nodes

    in_virtual_time(scenario)


def test_a_node_that_was_off_learns_it_at_its_first_link_and_ends_what_it_had() -> None:
    async def scenario(made: World) -> None:
        founder, guest, below = [await made.up(identity) for identity in (FOUNDER, GUEST, BELOW)]
        await founder.banning.proclaim(ban(1, 2))
        late = await made.up(LATE)
        await all_linked(late, guest)
        assert late.linked() == {"n2"}, "it cannot know yet"
        await founder.links.connect(late.address)
        await trio.sleep(SOON_S)
        assert late.linked() == {"n1"}
        await assert_shut_out(guest, late)
        await assert_shut_out(below, late)

    in_virtual_time(scenario)


@pytest.mark.parametrize("knower_dials", [True, False])
def test_two_who_hold_different_bans_both_hold_all_before_their_link_is_ready(knower_dials: bool) -> None:
    async def scenario(made: World) -> None:
        one, other = await made.up(FOUNDER), await made.up(OTHER)
        one.bans.learn([ban(1, 2), ban(1, 6)])
        other.bans.learn([ban(1, 2), ban(1, 7)])
        dialler, dialled = (one, other) if knower_dials else (other, one)
        link = await dialler.links.connect(dialled.address)
        assert one.bans.digest == other.bans.digest == link.peer.ban_digest
        assert len(one.bans) == 3

    in_virtual_time(scenario)


def test_who_learns_at_an_opening_that_it_is_banned_itself_gets_no_link_either() -> None:
    async def scenario(made: World) -> None:
        guest, other = await made.up(GUEST), await made.up(OTHER)
        guest.bans.learn([ban(1, 4)])
        with pytest.raises(PotluckError):
            await guest.links.connect(other.address)
        assert not guest.linked() | other.linked()
        with pytest.raises(PotluckError):
            await other.links.connect(guest.address)

    in_virtual_time(scenario)


def test_bans_outlive_the_process() -> None:
    async def scenario(made: World) -> None:
        founder, other = await made.up(FOUNDER), await made.up(OTHER)
        await all_linked(founder, other)
        await founder.banning.proclaim(ban(1, 2))
        await trio.sleep(SOON_S)
        again = await made.up(node_at(1, 4, number=4))
        assert again.bans.digest == founder.bans.digest == other.bans.digest
        assert len(again.bans) == 1

    in_virtual_time(scenario)


def test_a_connection_for_objects_ends_too() -> None:
    async def scenario(made: World) -> None:
        founder, guest = await made.up(FOUNDER), await made.up(GUEST)
        bulk = await guest.links.open_bulk(FOUNDER.node_id, founder.address)
        await trio.sleep(SOON_S)
        await founder.banning.proclaim(ban(1, 2))
        with pytest.raises(LinkLost), trio.fail_after(SOON_S):
            await bulk.receive()
        with pytest.raises(PotluckError):
            await guest.links.open_bulk(FOUNDER.node_id, founder.address)

    in_virtual_time(scenario)


def _ask(node: Party) -> list[Message]:
    fields = node.me.fields()
    identity = node.identity
    return [ConnectRequest(identity.node_id, identity.name, 1, "bulk"), Handshake(*fields), ObjectWant(1, bytes(16))]


def test_a_banned_node_hears_nothing_after_its_handshake_but_what_shuts_it_out() -> None:
    """Whatever digest it claims."""

    async def scenario(made: World) -> None:
        founder, guest = await made.up(FOUNDER), await made.up(GUEST)
        founder.bans.learn([ban(1, 2), ban(1, 6)])
        for claim in (False, True):
            if claim:
                guest.bans.digest = founder.bans.digest
            conversation = Conversation(await guest.network.dial(founder.address), Role.INITIATOR)
            request, handshake, _ = _ask(guest)
            await conversation.send(request)
            assert isinstance(await conversation.receive(), ConnectAck)
            await conversation.send(handshake)
            assert await conversation.receive() == Bans([ban(1, 2)])
            with pytest.raises(LinkLost), trio.fail_after(SOON_S):
                await conversation.receive()

    in_virtual_time(scenario)


@pytest.mark.parametrize("banned_dials", [True, False])
def test_whoever_is_banned_is_told_so_and_keeps_what_it_has(banned_dials: bool) -> None:
    async def scenario(made: World) -> None:
        founder, below, friend = await made.up(FOUNDER), await made.up(BELOW), await made.up(GUEST)
        await all_linked(below, friend)
        founder.bans.learn([ban(1, 2)])
        with pytest.raises(NotAllowed, match="this machine is banned" if banned_dials else "is banned"):
            await (below.links.connect(founder.address) if banned_dials else founder.links.connect(below.address))
        await trio.sleep(SOON_S)
        assert below.bans.against_this_node == ban(1, 2)
        assert below.linked() == {"n2"}

    in_virtual_time(scenario)


@pytest.mark.parametrize("banned_is_dialled", [True, False])
def test_the_banned_neither_take_up_a_link_nor_knock_again_and_again(banned_is_dialled: bool) -> None:
    async def scenario(made: World) -> None:
        founder, guest = await made.up(FOUNDER), await made.up(GUEST)
        founder.bans.learn([ban(1, 2)])
        told: list[str] = []
        guest.links.up.append(lambda link: told.append(link.peer.name))
        if banned_is_dialled:
            with pytest.raises(NotAllowed):
                await founder.links.connect(guest.address)
            await trio.sleep(SOON_S)
        else:
            for _ in range(20):
                with pytest.raises(NotAllowed, match="this machine is banned"):
                    await guest.links.link_to(FOUNDER.node_id, founder.address)
            began_s = trio.current_time()
            with pytest.raises(NotAllowed):
                await guest.links.link_to(FOUNDER.node_id, founder.address)
            assert trio.current_time() == began_s, "nobody was asked"
        assert guest.bans.against_this_node
        assert told == []

    in_virtual_time(scenario)


def test_two_compare_their_bans_and_agree_from_then_on() -> None:
    async def scenario(made: World) -> None:
        one, other = await made.up(FOUNDER), await made.up(OTHER)
        await all_linked(one, other)
        other_id = other.identity.node_id
        assert await one.links.compare_bans(other_id, other.address)
        other.bans.learn([ban(1, 6)])
        for link in one.links:
            link.lose(LinkLost("before it was told"))
        one.bans.learn([ban(1, 7)])
        assert not await one.links.compare_bans(other_id, other.address)
        assert await one.links.compare_bans(other_id, other.address)

    in_virtual_time(scenario)


def test_nobody_makes_a_node_believe_that_it_is_banned() -> None:
    async def scenario(made: World) -> None:
        liar, other = await made.up(GUEST), await made.up(OTHER)
        await all_linked(liar, other)
        for link in liar.links:
            link.post(Bans([forged()]))
        await trio.sleep(SOON_S)
        assert other.bans.against_this_node is None

    in_virtual_time(scenario)


def forged() -> Ban:
    real = ban(1, 4)
    return Ban(real.chain, real.writer, bytes(64))


def test_who_tells_of_bans_that_nobody_wrote_loses_its_link_and_bans_nobody() -> None:
    async def scenario(made: World) -> None:
        founder, guest, other = [await made.up(identity) for identity in (FOUNDER, GUEST, OTHER)]
        await all_linked(founder, guest, other)
        for link in guest.links:
            link.post(Bans([forged()]))
        await trio.sleep(SOON_S)
        assert "n2" not in founder.linked() | other.linked()
        assert founder.linked() == {"n4"}
        assert not founder.bans
        assert not other.bans.nodes

    in_virtual_time(scenario)


def test_who_pages_without_end_is_not_listened_to_without_end() -> None:
    async def scenario(made: World) -> None:
        founder, guest = await made.up(FOUNDER), await made.up(GUEST)
        guest.bans.learn([ban(1, 6)])
        conversation = Conversation(await guest.network.dial(founder.address), Role.INITIATOR)
        request, handshake, _ = _ask(guest)
        await conversation.send(request)
        await conversation.receive()
        await conversation.send(handshake)
        await conversation.receive()
        await conversation.send(Bans([], more=True))
        with pytest.raises(LinkLost), trio.fail_after(SOON_S):
            await conversation.receive()

    in_virtual_time(scenario)
