"""Whole nodes in virtual time: whoever is banned is gone from everything that a node does for others."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable

import pytest
import trio
from potluck.overlay.dht.records import Draft, sign
from potluck.overlay.errors import NotFound
from potluck.overlay.identity.bans import make_ban
from potluck.overlay.identity.certificates import issue
from potluck.overlay.identity.keys import KeyPair
from potluck.overlay.identity.mesh import Mesh, root_of
from potluck.overlay.wire.bans import Ban
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.gossip import MemberNews, PeerExchange, Status
from potluck.overlay.wire.work import Inline, Program
from potluck.simulations import determinism, gathering
from potluck.simulations.sandbox import encoded_call
from potluck.simulations.world import World

FOUNDERS, GUESTS, BELOW = ("a1", "b1", "c1"), ("d1", "a2", "b2"), ("c2", "d2", "a3")
SOON_S = 5.0
SOURCE = b"def work(seconds):\n    spend(seconds)\n    return seconds\n"
PROGRAM = Program(hashlib.sha256(SOURCE).digest(), "function", "work", "work.py", Inline(SOURCE))


def let_in(inviter: Mesh, owner: KeyPair) -> Mesh:
    chain = (issue(inviter.owner, owner.public, may_issue=True), *inviter.owner_chain)
    return Mesh(inviter.root_der, inviter.tag_key, owner, chain)


class Invited(World):
    """Three owners: the founder, a guest of the founder's, and a guest of that guest."""

    def prepare(self) -> None:
        for _ in range(9):
            self.add_machine()
        machines = self.machines
        guest = let_in(machines["a1"].mesh, machines["d1"].mesh.owner)
        below = let_in(guest, machines["c2"].mesh.owner)
        for names, mesh in ((GUESTS, guest), (BELOW, below)):
            for name in names:
                machines[name].mesh = mesh

    def ban_guest(self) -> Ban:
        mesh = self.machines["d1"].mesh
        return make_ban(mesh.owner_chain, root_of(self._secret), mesh.root_der)

    def present(self, name: str) -> set[str]:
        return {member.name for member in self.node(name).membership.present()}


def in_world(play: Callable[[Invited], Awaitable[None]]) -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = Invited(1, nursery)
            world.prepare()
            await play(world)
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=1)


async def until(condition: Callable[[], bool], within_s: float = 20.0) -> None:
    assert await gathering.until(condition, within_s, 0.05)


def test_the_banned_are_gone_from_membership_memory_and_work() -> None:
    async def play(world: Invited) -> None:
        for name in world.machines:
            await world.start(name)
        everyone = set(world.machines)
        await until(lambda: all(world.present(name) == everyone - {name} for name in everyone))
        guest, founder = world.node("d1"), world.node("a1")
        await guest.memory.set("theirs", b"1", None)
        await founder.memory.set("ours", b"1", None)
        job = guest.jobs.open(JobOptions(on="a1"), lambda *_: None)
        guest.jobs.submit(job, PROGRAM, [TaskSpec(0, encoded_call(1000.0))])
        await until(lambda: founder.execution.load().busy == 1)
        await founder.banning.proclaim(world.ban_guest())
        kept = {name: everyone - {*GUESTS, *BELOW, name} for name in FOUNDERS}
        await until(lambda: all(world.present(name) == kept[name] for name in FOUNDERS), SOON_S)
        await until(lambda: founder.execution.load().busy == 0, SOON_S)
        for name in FOUNDERS:
            with pytest.raises(NotFound):
                await world.node(name).memory.get("theirs")
            assert (await world.node(name).memory.get("ours"))[0] == b"1"
        await check_news_and_records(world)

    in_world(play)


async def check_news_and_records(world: Invited) -> None:
    """Neither what somebody tells of the banned brings them back, nor what they have signed."""
    founder, other = world.node("a1"), world.node("b1")
    banned = world.machines["d1"]
    identity = world.node("d1").identity
    address = world.node("d1").address
    news = MemberNews(identity.node_id, "d1", address.host, address.port, bytes(16), 99, Status.ALIVE)
    link = other.links.get(founder.node_id)
    assert link is not None
    link.post(PeerExchange([news], []))
    draft = Draft("mem", b"again", b"1", founder.dht.clock.next_version())
    stored = await founder.dht.share.keep(sign(draft, banned.key))
    assert not stored.accepted
    assert "banned" in stored.reason
    await trio.sleep(SOON_S)
    assert "d1" not in world.present("a1")


def test_one_that_was_off_learns_of_it_within_seconds_of_meeting_one_that_knows() -> None:
    async def play(world: Invited) -> None:
        for name in ("a1", "d1", "c2"):
            await world.start(name)
        await until(lambda: world.present("a1") == {"d1", "c2"})
        await world.node("a1").banning.proclaim(world.ban_guest())
        await until(lambda: not world.present("a1"), SOON_S)
        world.power_off("a1")
        for name in ("b1", "c1"):
            await world.start(name)
        await until(lambda: world.present("b1") >= {"c1", "d1", "c2"})
        await world.start("a1")
        await until(lambda: "b1" in world.present("a1"))
        await until(lambda: all(world.present(name) == set(FOUNDERS) - {name} for name in FOUNDERS), SOON_S)
        for name in FOUNDERS:
            assert len(world.node(name).links.bans) == 1

    in_world(play)


def test_the_banned_count_no_more_among_those_who_agree() -> None:
    """Also where they died before: of three founders who are left, one may die."""

    async def play(world: Invited) -> None:
        four = (*FOUNDERS, "d1")
        for name in four:
            await world.start(name)
        await until(lambda: all(world.present(name) == set(four) - {name} for name in four))
        founder = world.node("a1")
        await founder.memory.increment("k", 1)
        world.power_off("d1")
        await until(lambda: "d1" not in world.present("a1"))
        await trio.sleep(20)
        await founder.banning.proclaim(world.ban_guest())
        await trio.sleep(20)
        world.power_off("c1")
        assert (await founder.memory.increment("k", 1))["value"] == 2

    in_world(play)
