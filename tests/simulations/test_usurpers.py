"""A member that lies about the founding of all agreed values, among whole nodes in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import pytest
import trio
from potluck.node.daemon import Node
from potluck.overlay.errors import Unavailable
from potluck.overlay.identity.bans import make_ban
from potluck.overlay.identity.certificates import issue
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.registers.witnesses import stand_for
from potluck.overlay.wire.registers import Accept, Ballot, Configuration, Founded, State
from potluck.simulations import determinism
from potluck.simulations.world import World

from .test_registers import all_know, number


def make_guest(world: World, name: str, guest: int) -> None:
    """This machine's owner was let in by the first machine's."""
    host = world.machines["a1"].mesh
    owner = KeyPair.from_seed(bytes([guest]) * 32)
    chain = (issue(host.owner, owner.public, may_issue=True), *host.owner_chain)
    world.machines[name].mesh = msgspec.structs.replace(host, owner=owner, owner_chain=chain)


def play(story: Callable[[World, list[str]], Awaitable[None]], nodes: int) -> None:
    """Everybody but the first is a guest of the first."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(5, nursery)
            names = [world.add_machine().name for _ in range(nodes)]
            for guest, name in enumerate(names[1:], 1):
                make_guest(world, name, guest)
            await story(world, names)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=5)


def say_to_all(node: Node, news: Founded) -> None:
    for link in node.links:
        link.post(news)


def lies_of(node: Node) -> dict[str, Founded]:
    own = Configuration(1 << 40, [bytes(20)])
    true = node.registers.founding.known
    assert true is not None
    return {
        "another founding, with nobody's word": Founded(bytes(8), own),
        "another founding, with its own word": Founded(bytes(8), own, [stand_for(node.identity, bytes(8))]),
        "other acceptors": Founded(true, own, [stand_for(node.identity, true)]),
    }


@pytest.mark.parametrize("lie", ["another founding, with nobody's word", "another founding, with its own word"])
@pytest.mark.parametrize("restart", [False, True], ids=["on", "started anew"])
def test_no_member_can_forge_the_founding(lie: str, restart: bool) -> None:
    _agreed_values_outlive(lie, restart)


@pytest.mark.parametrize("restart", [False, True], ids=["on", "started anew"])
def test_no_member_can_say_where_the_root_is(restart: bool) -> None:
    _agreed_values_outlive("other acceptors", restart)


def _agreed_values_outlive(lie: str, restart: bool) -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names:
            await world.start(name)
        await all_know(world, names)
        liar = names[-1]
        for name in names:
            await world.node(name).memory.increment("k", 1)
        say_to_all(world.node(liar), lies_of(world.node(liar))[lie])
        await trio.sleep(1)
        if restart:
            await world.leave(names[1])
            await world.start(names[1])
            await all_know(world, names)
            say_to_all(world.node(liar), lies_of(world.node(liar))[lie])
            await trio.sleep(1)
        for total, name in enumerate(names[:-1], len(names) + 1):
            assert (await world.node(name).memory.increment("k", 1))["value"] == total

    play(story, 5)


def test_who_was_told_a_false_founding_first_finds_the_true_one() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names[:-1]:
            await world.start(name)
        await all_know(world, names[:-1])
        liar, newcomer = names[-2:]
        await world.node(names[0]).memory.increment("k", 1)
        for name in names[:-2]:
            world.unplug(name)
        await world.start(newcomer)
        while not (link := world.node(liar).links.get(world.node(newcomer).node_id)):  # noqa: ASYNC110
            await trio.sleep(0.1)
        link.post(lies_of(world.node(liar))["another founding, with its own word"])
        await trio.sleep(1)
        assert world.node(newcomer).registers.founding.known is not None
        for name in names[:-2]:
            world.plug(name)
        await all_know(world, names)
        await trio.sleep(1)
        assert (await world.node(newcomer).memory.increment("k", 1))["value"] == 2

    play(story, 5)


def test_a_false_founding_that_nobody_nearer_to_the_root_outweighs_ends_with_a_ban() -> None:
    """The host is away when its guest founds alone. What the guest held is there again when the liar is gone."""

    async def story(world: World, names: list[str]) -> None:
        host, guest, liar = names
        await world.start(host)
        await world.start(guest)
        await all_know(world, names[:2])
        await world.leave(host)
        await trio.sleep(3)
        await world.node(guest).memory.increment("k", 1)
        true = world.node(guest).registers.founding.known
        await world.start(liar)
        await all_know(world, names[1:])
        say_to_all(world.node(liar), lies_of(world.node(liar))["another founding, with its own word"])
        await trio.sleep(1)
        assert world.node(guest).registers.founding.known == bytes(8)
        mesh = world.machines[host].mesh
        ban = make_ban(world.node(liar).identity.chain[1:], mesh.owner, mesh.root_der)
        world.node(guest).links.bans.learn([ban])
        await trio.sleep(1)
        assert world.node(guest).registers.founding.known == true
        assert await number(world, guest, "k") == 1
        assert (await world.node(guest).memory.increment("k", 1))["value"] == 2

    play(story, 3)


def test_a_mesh_that_was_founded_falsely_before_anybody_else_has_is_founded_anew_after_a_ban() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names:
            await world.start(name)
        await all_know(world, names)
        liar, false = world.node(names[-1]), Configuration(2, [bytes(20)])
        say_to_all(liar, Founded(bytes(8), false, [stand_for(liar.identity, bytes(8))]))
        await trio.sleep(1)
        with pytest.raises(Unavailable):
            await world.node(names[0]).memory.increment("k", 1)
        mesh = world.machines[names[0]].mesh
        world.node(names[0]).links.bans.learn([make_ban(liar.identity.chain[1:], mesh.owner, mesh.root_der)])
        await trio.sleep(5)
        for total, name in enumerate(names[:-1], 1):
            assert (await world.node(name).memory.increment("k", 1))["value"] == total

    play(story, 4)


def test_a_founding_in_use_outlives_the_ban_of_who_founded_it() -> None:
    async def story(world: World, names: list[str]) -> None:
        host, guest, other, founder = names
        await world.start(founder)
        await world.node(founder).memory.increment("k", 1)
        for name in (host, guest, other):
            await world.start(name)
        await all_know(world, names)
        await trio.sleep(20)
        for name in (host, guest, other):
            await world.node(name).memory.increment("k", 1)
        true = world.node(founder).registers.founding.known
        mesh = world.machines[host].mesh
        ban = make_ban(world.node(founder).identity.chain[1:], mesh.owner, mesh.root_der)
        world.node(host).links.bans.learn([ban])
        world.power_off(founder)
        await trio.sleep(20)
        for total, name in enumerate((host, guest, other), 5):
            assert (await world.node(name).memory.increment("k", 1))["value"] == total
            assert world.node(name).registers.founding.known == true

    play(story, 4)


def test_a_root_is_not_replaced_behind_a_founding_that_is_known() -> None:
    async def story(world: World, names: list[str]) -> None:
        for name in names:
            await world.start(name)
        await all_know(world, names)
        await world.node(names[0]).memory.increment("k", 1)
        liar = world.node(names[-1])
        state = State(Configuration(1 << 40, [liar.node_id]), 0, msgspec.msgpack.encode((bytes(8), {}, [])))
        for link in list(liar.links):
            link.post(Accept(1, b"", b"", Ballot(1 << 40, liar.node_id + bytes(8)), state))
        await trio.sleep(30)
        assert (await world.node(names[1]).memory.increment("k", 1))["value"] == 2

    play(story, 4)
