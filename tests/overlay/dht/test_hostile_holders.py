"""Holders that lie, in virtual time: one of them misleads nobody, and breaks nothing of those it talks to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio
from potluck.overlay.clock import MeshTime, version_at
from potluck.overlay.config import Config
from potluck.overlay.dht.handover import HandOver
from potluck.overlay.dht.records import Draft, sign
from potluck.overlay.dht.replication import Replication
from potluck.overlay.dht.service import Dht
from potluck.overlay.dht.share import Card
from potluck.overlay.errors import Unavailable
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.identity.mesh import Identity
from potluck.overlay.ids import key_id
from potluck.overlay.links.link import Link
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction
from potluck.overlay.membership.service import Membership
from potluck.overlay.ports import Address
from potluck.overlay.wire import records as wire
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.codec import Message
from potluck.simulations import determinism
from potluck.simulations.clock import VirtualWallClock
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork
from potluck.simulations.store import VirtualDisk, VirtualStore

from ...strategies.identities import key, member

Answer = Callable[..., Message]


class FullStore(VirtualStore):
    async def commit(self) -> None:
        raise Unavailable("cannot write to disk: no space is left")


class Party:
    def __init__(self, ether: Ether, number: int, store: VirtualStore) -> None:
        identity: Identity = member(number)
        clock = VirtualWallClock()
        config = Config(identity.name, Path("nowhere"), Path("nowhere"))
        network = VirtualNetwork(ether, f"10.0.0.{number}", config, identity)
        mesh_time = MeshTime(trio.current_time, clock.now_s)
        mine = Introduction(
            identity,
            BanSet(identity.mesh.root_der),
            mesh_time.says,
            Capabilities,
            lambda: 1,
            lambda: self.links.address.port,
        )
        self.links = Links(network, mine, config.links)
        entropy = SeededEntropy(number, identity.name)
        self.membership = Membership(config, identity, self.links, mesh_time, entropy)
        self.dht = Dht(config, identity, self.links, self.membership, store, mesh_time)
        self.replication = Replication(self.dht)
        self.hand_over = HandOver(self.dht)
        self.membership.observers.append(self.hand_over.member_changed)
        self.address = Address("", 0)

    async def start(self, nursery: trio.Nursery) -> None:
        nursery.start_soon(self.membership.run)
        await nursery.start(self.dht.run)
        nursery.start_soon(self.hand_over.run)
        self.address = await nursery.start(self.links.run)

    def answers_stores_with(self, answer: Answer) -> None:
        def handle(link: Link, message: Message) -> None:
            assert isinstance(message, wire.Store)
            link.post(answer(message))

        self.links._handlers[wire.Store] = handle


@asynccontextmanager
async def parties(count: int, *, full: int = 0) -> AsyncIterator[list[Party]]:
    """All linked to each other; the last `full` have no room on their disks."""
    ether = Ether(seed=1)
    kinds = [VirtualStore] * (count - full) + [FullStore] * full
    everyone = [Party(ether, n, kind(VirtualDisk(), lambda: 0.001)) for n, kind in enumerate(kinds, 1)]
    async with trio.open_nursery() as nursery:
        for party in everyone:
            await party.start(nursery)
        for n, party in enumerate(everyone):
            for other in everyone[:n]:
                await party.links.connect(other.address)
        await trio.sleep(1)
        yield everyone
        nursery.cancel_scope.cancel()


def _forged(store: wire.Store) -> wire.Record:
    return msgspec.structs.replace(store.record, version=(1 << 63) - 1, value=b"forged")


LIES: dict[str, Answer] = {
    "a newer version that nobody signed": lambda store: wire.Stored(store.request, False, newer=_forged(store)),
    "a newer version of another key": lambda store: wire.Stored(
        store.request, False, newer=sign(Draft("mem", b"other", b"v", store.record.version + 1), key(1))
    ),
    "a newer version from the future": lambda store: wire.Stored(
        store.request, False, newer=sign(Draft("mem", store.record.key, b"v", version_at(9e9)), key(1))
    ),
    "ever newer versions of its own": lambda store: wire.Stored(
        store.request, False, newer=sign(Draft("mem", store.record.key, b"v", store.record.version + 1), key(4))
    ),
    "an older version as a newer one": lambda store: wire.Stored(
        store.request, False, newer=sign(Draft("mem", store.record.key, b"v", 1), key(1))
    ),
    "it is not allowed": lambda store: wire.Stored(store.request, False, 25, "no"),
    "an error of no sense": lambda store: wire.Stored(store.request, False, 41, "no"),
    "an error of no number": lambda store: wire.Stored(store.request, False, 0, ""),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
def test_one_holder_that_lies_hinders_no_write(lie: Answer) -> None:
    async def scenario() -> None:
        async with parties(4) as (alice, bob, _, mallory):
            mallory.answers_stores_with(lie)
            with trio.fail_after(2):
                first = await alice.replication.put("mem", b"k", b"one")
                second = await alice.replication.put("mem", b"k", b"two")
                record = await bob.replication.get("mem", b"k")
            assert first.version < second.version < version_at(alice.dht.mesh_time.now_s() + 61)
            assert record is not None
            assert record.value == b"two"

    determinism.run(scenario, seed=1)


def _silent(link: Link, message: Message) -> None:
    pass


def _endless(link: Link, message: Message) -> None:
    assert isinstance(message, wire.ListRange)
    link.post(wire.Range(message.request, [wire.Holding(bytes(20), 1, bytes(8))], more=True))


def _invented(link: Link, message: Message) -> None:
    assert isinstance(message, wire.ListRange)
    places = sorted(key_id("mem", bytes([n])) for n in range(200))
    link.post(wire.Range(message.request, [wire.Holding(place, (1 << 63) - 1, bytes(8)) for place in places]))


@pytest.mark.parametrize("lie", [_silent, _endless, _invented])
def test_one_that_lies_about_its_share_keeps_nobody_from_settling(lie: Callable[[Link, Message], None]) -> None:
    async def scenario() -> None:
        async with parties(4) as (alice, bob, carol, mallory):
            mallory.links._handlers[wire.ListRange] = lie
            await alice.replication.put("mem", b"k", b"v")
            for party in (alice, bob, carol):
                party.dht.share.syncing.seen([])
                party.dht.share.syncing.seen(party.hand_over._near())
                party.hand_over._moved.ring()
            with trio.fail_after(30):
                while any(party.dht.share.syncing.due for party in (alice, bob, carol)):  # noqa: ASYNC110
                    await trio.sleep(0.1)
            record = await bob.replication.get("mem", b"k")
            assert record is not None
            assert len(bob.dht.share.records) == 1

    determinism.run(scenario, seed=1)


@pytest.mark.parametrize(
    "answer",
    [
        lambda fetch: wire.Fetched(fetch.request, 0),
        lambda fetch: wire.Fetched(fetch.request, 999),
        lambda fetch: wire.Fetched(fetch.request, 1, [sign(Draft("mem", b"other", b"v", 1), key(4))]),
    ],
)
def test_one_that_gives_other_records_than_it_was_asked_for_misleads_no_reader(answer: Answer) -> None:
    async def scenario() -> None:
        async with parties(3) as (alice, bob, mallory):

            def handle(link: Link, message: Message) -> None:
                assert isinstance(message, wire.Fetch)
                link.post(answer(message))

            mallory.links._handlers[wire.Fetch] = handle
            await alice.replication.put("mem", b"k", b"v")
            found: list[bytes] = []
            await bob.replication.get_many("mem", [b"k"], lambda record: found.append(record.value))
            assert found == [b"v"]

    determinism.run(scenario, seed=1)


def test_a_holder_whose_disk_is_full_says_so_and_lives() -> None:
    async def scenario() -> None:
        async with parties(4, full=1) as (alice, bob, _, full):
            with trio.fail_after(2):
                await alice.replication.put("mem", b"k", b"v")
            record = sign(Draft("mem", b"l", b"v", version_at(full.dht.mesh_time.now_s())), key(1))
            stored = await full.dht.share.keep(record)
            assert (stored.accepted, stored.code) == (False, Unavailable.wire_code)
            assert full.links.get(member(1).node_id) is not None
            assert await bob.replication.get("mem", b"k") is not None

    determinism.run(scenario, seed=1)


def test_when_no_majority_can_write_the_write_is_unavailable() -> None:
    async def scenario() -> None:
        async with parties(4, full=3) as (alice, *_):
            with pytest.raises(Unavailable):
                await alice.replication.put("mem", b"k", b"v")

    determinism.run(scenario, seed=1)


def test_one_holder_that_refuses_does_not_refuse_for_those_that_cannot_answer_now() -> None:
    async def scenario() -> None:
        async with parties(4, full=2) as (alice, _, _full, mallory):
            mallory.answers_stores_with(LIES["it is not allowed"])
            with pytest.raises(Unavailable):
                await alice.replication.put("mem", b"k", b"v")

    determinism.run(scenario, seed=1)


NESTED = b"\x91" * 20_000
CARDS = {
    "nothing": b"",
    "random bytes": bytes(range(256)),
    "nesting without end": NESTED,
    "nesting where a later version has a field": msgspec.msgpack.encode(["n", "h", 1, [], b"", b""]).replace(
        b"\x96", b"\x97", 1
    )
    + NESTED,
    "no chain": msgspec.msgpack.encode(Card("n", "h", 1, [], b"")),
    "a chain of junk": msgspec.msgpack.encode(Card("n", "h", 1, [b"junk"], b"")),
    "a chain of another": msgspec.msgpack.encode(Card("n", "h", 1, list(member(2).chain), b"")),
}


@pytest.mark.parametrize("card", CARDS.values(), ids=CARDS.keys())
def test_a_card_that_proves_nothing_is_refused(card: bytes) -> None:
    async def scenario() -> None:
        async with parties(1) as (alice,):
            now_s = alice.dht.mesh_time.now_s()
            record = sign(Draft("node", member(9).node_id, card, version_at(now_s), now_s + 60), key(9))
            stored = await alice.dht.share.keep(record)
            assert not stored.accepted
            assert not stored.newer

    determinism.run(scenario, seed=1)
