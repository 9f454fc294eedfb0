"""Links in virtual time: how they end, and how they wait."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.config import Links as LinksConfig
from potluck.overlay.errors import LinkLost, Unavailable
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.mesh import Identity
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.link import Link
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction, PeerInfo
from potluck.overlay.ports import Address
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.gossip import Probe, ProbeAck
from potluck.overlay.wire.opening import DisconnectRequest
from potluck.overlay.wire.records import FindNode, Nodes
from potluck.overlay.wire.work import CancelInstructions, ObjectRelease
from potluck.simulations import determinism
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork

from ...strategies.identities import member

ALICE, BOB = member(1), member(2)
LIMITS = LinksConfig(queue_bytes_max=10_000)


class Party:
    def __init__(self, ether: Ether, number: int, identity: Identity, limits: LinksConfig) -> None:
        config = Config(identity.name, Path("nowhere"), Path("nowhere"), links=limits)
        network = VirtualNetwork(ether, f"10.0.0.{number}", config, identity)
        self.identity = identity
        self.bans = BanSet(identity.mesh.root_der)
        self.links = Links(
            network,
            Introduction(
                identity,
                self.bans,
                lambda: Said(0.0, 0.0),
                Capabilities,
                lambda: self.incarnation,
                lambda: self.links.address.port,
            ),
            limits,
        )
        self.incarnation = 1
        self.received: list[Message] = []
        self.story: list[str] = []
        self.links.up.append(lambda link: self.story.append(f"up {link.peer.name}"))
        self.links.down.append(lambda link: self.story.append(f"down {link.peer.name}{' left' if link.left else ''}"))
        for message_type in (ObjectRelease, CancelInstructions):
            self.links.on(message_type, lambda link, message: self.received.append(message))
        self.links.on(Probe, lambda link, message: link.post(ProbeAck(message.request, 0.0)))  # type: ignore[attr-defined]
        self.address = Address("", 0)
        self.gone = trio.CancelScope()

    async def run(self, *, task_status: trio.TaskStatus[Address]) -> None:
        with self.gone:
            await self.links.run(task_status=task_status)

    def link_to(self, other: Party) -> Link:
        link = self.links.get(other.identity.node_id)
        assert link is not None
        return link


@asynccontextmanager
async def two_parties(limits: LinksConfig = LIMITS) -> AsyncIterator[tuple[Party, Party, Ether]]:
    ether = Ether(seed=1)
    alice, bob = (Party(ether, n, identity, limits) for n, identity in enumerate((ALICE, BOB), 1))
    async with trio.open_nursery() as nursery:
        for party in (alice, bob):
            party.address = await nursery.start(party.run)
        yield alice, bob, ether
        nursery.cancel_scope.cancel()


async def settle() -> None:
    await trio.sleep(0.1)


def test_two_that_leave_at_the_same_moment_part_at_once() -> None:
    """As when all nodes of a machine are stopped together: nobody waits for a goodbye that has come already."""

    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            await alice.links.connect(bob.address)
            await settle()
            started_s = trio.current_time()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(alice.links.disconnect_all, "stopping")
                nursery.start_soon(bob.links.disconnect_all, "stopping")
            assert trio.current_time() - started_s < 0.1
            assert alice.story == ["up n2", "down n2 left"]
            assert bob.story == ["up n1", "down n1 left"]

    determinism.run(scenario, seed=1)


@given(dials_s=st.floats(0, 0.4), by_whom=st.sampled_from(["leaver", "other", "both"]), linked=st.booleans())
@settings(max_examples=60)
def test_whoever_opens_a_link_with_one_that_leaves_is_told_that_it_leaves(
    dials_s: float, by_whom: str, linked: bool
) -> None:
    """Never does a link come up and break, as if the node had died, or had come back."""

    async def dial(one: Party, other: Party) -> None:
        with suppress(Unavailable):
            await one.links.connect(other.address)

    async def scenario() -> None:
        async with two_parties() as (alice, bob, _), trio.open_nursery() as nursery:
            ends: list[str] = []
            bob.links.down.append(lambda link: ends.append("in order" if link.left or link.parted else "broken"))
            if linked:
                await alice.links.connect(bob.address)
                await settle()
            if by_whom != "other":
                nursery.start_soon(dial, alice, bob)
            if by_whom != "leaver":
                nursery.start_soon(dial, bob, alice)
            await trio.sleep(dials_s)
            with trio.fail_after(5):
                await alice.links.disconnect_all("stopping")
            alice.gone.cancel()
            await trio.sleep(60)
            assert "broken" not in ends
            assert bob.links.get(alice.identity.node_id) is None

    determinism.run(scenario, seed=1)


def test_what_was_said_before_a_goodbye_arrives() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            await alice.links.connect(bob.address)
            await settle()
            said = [CancelInstructions("j", 1, [n]) for n in range(500)]
            for message in said:
                alice.link_to(bob).post(message)
            await alice.links.disconnect_all("stopping")
            assert bob.received == said
            await settle()
            assert bob.story == ["up n1", "down n1 left"]

    determinism.run(scenario, seed=1)


def test_all_who_wait_for_room_get_it_and_all_are_told_when_the_link_is_lost() -> None:
    async def send(link: Link, outcomes: list[str]) -> None:
        try:
            await link.send(CancelInstructions("j", 1, list(range(1000))))
        except LinkLost:
            outcomes.append("lost")
        else:
            outcomes.append("sent")

    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether):
            await alice.links.connect(bob.address)
            await settle()
            link, outcomes = alice.link_to(bob), list[str]()
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    link.post(CancelInstructions("j", 1, list(range(5000))))
                    for _ in range(3):
                        nursery.start_soon(send, link, outcomes)
            assert outcomes == ["sent"] * 3
            ether.unplug("10.0.0.2")
            with trio.fail_after(30):
                async with trio.open_nursery() as nursery:
                    for _ in range(600):
                        nursery.start_soon(send, link, outcomes)
                    await trio.sleep(1)
                    link.lose(LinkLost("given up"))
            assert "lost" in outcomes
            assert len(outcomes) == 603

    determinism.run(scenario, seed=1)


def test_a_peer_that_does_not_read_loses_its_link_before_memory_is_short() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether):
            await alice.links.connect(bob.address)
            await settle()
            link = alice.link_to(bob)
            ether.unplug("10.0.0.2")
            big = ObjectRelease([bytes(16)] * 4000)
            with pytest.raises(LinkLost):
                for _ in range(10_000):
                    link.post(big)
                    await trio.lowlevel.checkpoint()
            assert link._outbox.queued_bytes <= 2 * LIMITS.queue_bytes_max + 100_000

    determinism.run(scenario, seed=1)


def test_a_question_that_costs_its_link_is_refused_and_not_heard_of_again() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether):
            await alice.links.connect(bob.address)
            await settle()
            link = alice.link_to(bob)
            ether.unplug("10.0.0.2")
            asked = -1
            heard: list[int] = []

            def hear(number: int, answer: Nodes | None) -> None:
                assert answer is None and number != asked, "whoever still asks is told by the exception"
                heard.append(number)

            with pytest.raises(LinkLost):
                for asked in range(10_000):
                    link.ask(lambda request: FindNode(request, bytes(20)), Nodes, partial(hear, asked))
            assert heard == list(range(asked)), "each of the others once"

    determinism.run(scenario, seed=1)


@pytest.mark.parametrize("seed", range(6))
def test_however_two_dial_each_other_one_link_remains(seed: int) -> None:
    async def dial(party: Party, other: Party, pause_s: float) -> None:
        await trio.sleep(pause_s)
        await party.links.link_to(other.identity.node_id, other.address)

    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            async with trio.open_nursery() as nursery:
                for n in range(4):
                    nursery.start_soon(dial, alice, bob, n * seed * 0.0007)
                    nursery.start_soon(dial, bob, alice, n * 0.001)
                nursery.start_soon(alice.links.connect, bob.address)
                nursery.start_soon(bob.links.connect, alice.address)
            await trio.sleep(2)
            assert alice.story == ["up n2"]
            assert bob.story == ["up n1"]
            assert alice.link_to(bob).initiated != bob.link_to(alice).initiated
            ack = await alice.link_to(bob).request(lambda number: Probe(number, 0.0), ProbeAck, 1.0)
            assert isinstance(ack, ProbeAck)

    determinism.run(scenario, seed=seed)


def test_an_answer_of_the_wrong_kind_costs_the_link() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            await alice.links.connect(bob.address)
            await settle()

            def wrong(number: int) -> Message:
                return Probe(number, 0.0)

            with pytest.raises(LinkLost):
                await alice.link_to(bob).request(wrong, Nodes, 1.0)
            await settle()
            assert alice.story == ["up n2", "down n2"]

    determinism.run(scenario, seed=1)


def test_a_restarted_peer_is_a_new_one() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether):
            await alice.links.connect(bob.address)
            await settle()
            reborn = Party(ether, 3, another_life_of(BOB), LIMITS)
            async with trio.open_nursery() as nursery:
                reborn.address = await nursery.start(reborn.links.run)
                await reborn.links.connect(alice.address)
                await settle()
                assert alice.story == ["up n2", "down n2", "up n2"]
                assert alice.link_to(bob).peer.boot_id == reborn.identity.boot_id
                nursery.cancel_scope.cancel()

    determinism.run(scenario, seed=1)


def another_life_of(identity: Identity) -> Identity:
    return Identity(identity.name, identity.key, identity.chain, identity.mesh, bytes(16))


def test_what_comes_with_the_end_of_the_opening_is_heard_at_once() -> None:
    message = CancelInstructions("j", 1, [7])

    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            bob.links.up.append(lambda link: link.post(message))
            await alice.links.connect(bob.address)
            await settle()
            assert alice.received == [message]

    determinism.run(scenario, seed=1)


def test_a_dial_that_its_caller_gives_up_is_no_crash_to_the_one_who_was_dialled() -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            for wait_s in (0.0005 * step for step in range(20)):
                with trio.move_on_after(wait_s):
                    await alice.links.link_to(bob.identity.node_id, bob.address)
            await settle()
            assert bob.story == ["up n1"]
            assert alice.story == ["up n2"]

    determinism.run(scenario, seed=1)


@given(st.booleans(), st.booleans())
@settings(max_examples=8)
def test_who_has_lost_a_link_unheard_says_so_by_the_next_and_both_begin_anew(begun_by_loser: bool, dials: bool) -> None:
    """As when its machine is at another address. Whoever dials, the one who holds it for whole learns it."""

    async def scenario() -> None:
        async with two_parties() as (holder, loser, _):
            first = (loser, holder) if begun_by_loser else (holder, loser)
            await first[0].links.connect(first[1].address)
            await settle()
            old = holder.link_to(loser)
            del loser.links._links[holder.identity.node_id]
            second = (loser, holder) if dials else (holder, loser)
            await second[0].links.connect(second[1].address)
            await settle()
            assert old.lost and not holder.link_to(loser).lost and not loser.link_to(holder).lost
            assert holder.story == ["up n2", "down n2", "up n2"]
            holder.link_to(loser).post(CancelInstructions("j", 1, [7]))
            await settle()
            assert loser.received == [CancelInstructions("j", 1, [7])]

    determinism.run(scenario, seed=1)


def silent(*parties: Party) -> None:
    """They do not say whether they have a link: as of an older version, or when several are opened together."""
    for party in parties:
        party.links._is_held = lambda node_id: True  # type: ignore[method-assign]


def test_when_the_first_link_breaks_the_second_does_not_hide_what_was_lost_with_it() -> None:
    """One side has lost the link unheard and dials again; the other holds the old one for whole, and answers on it."""

    async def scenario() -> None:
        async with two_parties() as (alice, bob, _):
            silent(alice, bob)
            holder, loser = sorted((alice, bob), key=lambda party: party.identity.node_id)
            await holder.links.connect(loser.address)
            await settle()
            old = holder.link_to(loser)
            del loser.links._links[holder.identity.node_id]
            await loser.links.connect(holder.address)
            await settle()
            assert holder.link_to(loser) is old
            old.lose(LinkLost("broken"))
            await settle()
            for party, other in ((holder, loser), (loser, holder)):
                assert party.story[-1] == f"down {other.identity.name}", "both say again what may not have been heard"

    determinism.run(scenario, seed=1)


def test_when_a_second_link_ends_before_all_was_heard_both_begin_anew() -> None:
    """The dialler holds for its second link what the other holds for its first, and ends it; what was said there is
    late."""

    async def scenario() -> None:
        async with two_parties() as (dialler, other, ether):
            silent(dialler, other)
            await dialler.links.connect(other.address)
            await settle()
            second = dialler.link_to(other)
            del dialler.links._links[other.identity.node_id]
            await dialler.links.connect(other.address)
            await settle()
            ether.weather.late_s = lambda source, _: 3.0 if source == "10.0.0.2" else 0.0  # type: ignore[method-assign]
            other.link_to(dialler).post(CancelInstructions("j", 1, [7]))
            dialler.links._retire(second)
            await trio.sleep(5.0)
            assert dialler.received == []
            assert dialler.story[-1] == "down n2"
            assert other.story[-1] == "down n1", "it says again what may not have been heard"

    determinism.run(scenario, seed=1)


def test_what_is_answered_while_the_first_of_two_links_is_ended_goes_over_the_second() -> None:
    """Two that one side has begun came up in another order there and here: it ends what is the first one here."""

    async def scenario() -> None:
        async with two_parties() as (dialler, other, _):
            silent(dialler, other)
            await dialler.links.connect(other.address)
            await settle()
            theirs = dialler.link_to(other)
            del dialler.links._links[other.identity.node_id]
            await dialler.links.connect(other.address)
            await settle()
            ended = other.link_to(dialler)
            take_in = other.links._handlers[DisconnectRequest]

            def answer(link: Link, message: Message) -> None:
                take_in(link, message)
                other.link_to(dialler).post(CancelInstructions("j", 1, [7]))

            other.links._handlers[DisconnectRequest] = answer
            dialler.links._retire(theirs)
            await settle()
            assert ended.lost and not other.link_to(dialler).lost
            assert dialler.received == [CancelInstructions("j", 1, [7])]
            assert "down n2" not in dialler.story and "down n1" not in other.story

    determinism.run(scenario, seed=1)


@pytest.mark.parametrize("calls", ["it", "the other"])
def test_one_that_calls_from_another_place_is_not_spoken_to_in_the_old_one(calls: str) -> None:
    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether), trio.open_nursery() as nursery:
            first, other = (bob, alice) if calls == "it" else (alice, bob)
            await first.links.connect(other.address)
            await settle()
            elsewhere = Party(ether, 3, BOB, LIMITS)
            elsewhere.incarnation = 2
            await nursery.start(elsewhere.run)
            await elsewhere.links.connect(alice.address)
            await settle()
            assert alice.link_to(bob).peer.address.host == "10.0.0.3"
            assert alice.story == ["up n2", "down n2", "up n2"]
            nursery.cancel_scope.cancel()

    determinism.run(scenario, seed=1)


def test_what_is_on_its_way_to_or_from_the_place_that_a_peer_has_left_ends() -> None:
    async def serve(conversation: Conversation, _peer: PeerInfo) -> None:
        await conversation.receive()

    async def ends(conversation: Conversation) -> None:
        with pytest.raises(LinkLost):
            await conversation.receive()

    async def scenario() -> None:
        async with two_parties() as (alice, bob, ether), trio.open_nursery() as nursery:
            for party in (alice, bob):
                party.links.on_bulk(serve)
            elsewhere = Party(ether, 3, BOB, LIMITS)
            elsewhere.incarnation = 2
            await nursery.start(elsewhere.run)
            with trio.fail_after(5):
                async with trio.open_nursery() as waiting:
                    waiting.start_soon(ends, await alice.links.open_bulk(BOB.node_id, bob.address))
                    waiting.start_soon(ends, await bob.links.open_bulk(ALICE.node_id, alice.address))
                    await settle()
                    await elsewhere.links.connect(alice.address)
            nursery.cancel_scope.cancel()

    determinism.run(scenario, seed=1)


def test_it_is_told_where_a_peer_is_whose_link_another_has_replaced() -> None:
    async def scenario() -> None:
        low, high = sorted((ALICE, BOB), key=lambda one: one.node_id)
        ether = Ether(seed=1)
        caller, called, elsewhere = (Party(ether, n, one, LIMITS) for n, one in enumerate((low, high, high), 1))
        async with trio.open_nursery() as nursery:
            for party in (caller, called, elsewhere):
                party.address = await nursery.start(party.run)
            silent(caller, called, elsewhere)
            told: list[Link] = []
            caller.links.replaced.append(told.append)
            await called.links.connect(caller.address)
            await settle()
            await caller.links.connect(elsewhere.address)
            await settle()
            assert [link.peer.address.host for link in told] == ["10.0.0.3"]
            assert caller.story == [f"up {high.name}"]
            nursery.cancel_scope.cancel()

    determinism.run(scenario, seed=1)
