"""Long payloads are fetched from holders that may lie about them, in virtual time."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.node.objects import PART_BYTES, Objects, ObjectTable
from potluck.overlay.clock import Said
from potluck.overlay.config import Config
from potluck.overlay.errors import LimitExceeded, LinkLost, NotAllowed, NotFound
from potluck.overlay.identity.bans import BanSet
from potluck.overlay.links.conversation import Conversation
from potluck.overlay.links.links import Links
from potluck.overlay.links.opening import Introduction, PeerInfo
from potluck.overlay.parcels import Parcel, seal
from potluck.overlay.ports import Address, Stream
from potluck.overlay.session.states import Role
from potluck.overlay.wire.capabilities import Capabilities
from potluck.overlay.wire.opening import ConnectAck
from potluck.overlay.wire.work import INLINE_BYTES_MAX, Inline, ObjectComes, Reference
from potluck.simulations import determinism
from potluck.simulations.entropy import SeededEntropy
from potluck.simulations.ether import Ether
from potluck.simulations.network import VirtualNetwork

from ..strategies.identities import member

LENT_BYTES = 8 << 20
BulkHandler = Callable[[Conversation, PeerInfo], Awaitable[None]]


class Party:
    """A node as far as objects go; whom it knows is told to it."""

    def __init__(
        self,
        ether: Ether,
        number: int,
        known: dict[bytes, SimpleNamespace],
        *,
        in_parcels: bool,
        host: int | None = None,
    ) -> None:
        self.ether = ether
        self.identity = member(number)
        self.known = known
        config = Config(self.identity.name, Path("nowhere"), Path("nowhere"))
        self.network = VirtualNetwork(ether, f"10.0.0.{host or number}", config, self.identity)
        bans = BanSet(self.identity.mesh.root_der)
        me = Introduction(
            self.identity,
            bans,
            lambda: Said(0.0, 0.0),
            Capabilities,
            lambda: self.incarnation,
            lambda: self.links.address.port,
        )
        self.incarnation = 1
        self.links = Links(self.network, me, config.links)
        self.table = ObjectTable(LENT_BYTES)
        entropy = SeededEntropy(number, "objects")
        self.objects = Objects(
            self.table,
            self.identity,
            self.links,
            known,  # type: ignore[arg-type]
            entropy,
            config.links,
            in_parcels=in_parcels,
        )


@asynccontextmanager
async def two_parties(
    serve: Callable[[Stream], Awaitable[None]] | None = None, *, in_parcels: bool = False
) -> AsyncIterator[tuple[Party, Party]]:
    """`serve`: what the second does instead of being a node."""
    ether, known = Ether(seed=1), dict[bytes, SimpleNamespace]()
    one, other = (Party(ether, number, known, in_parcels=in_parcels) for number in (1, 2))
    async with trio.open_nursery() as nursery:
        start = other.links.run if serve is None else lambda **ready: other.network.serve(serve, **ready)
        address: Address = await nursery.start(start)
        await nursery.start(one.links.run)
        known[other.identity.node_id] = SimpleNamespace(address=address)
        yield one, other
        nursery.cancel_scope.cancel()


def test_an_object_comes_whole_and_belongs_to_its_job() -> None:
    async def story() -> None:
        async with two_parties() as (one, other):
            made = Inline(b"x" * (3 * PART_BYTES), [b"y"])
            reference = other.objects.keep(made, "job")
            assert isinstance(reference, Reference)
            assert await one.objects.fetch(reference) == made
            home = await one.objects.bring_home(reference, "job")
            assert home.holder == one.identity.node_id
            one.table.release("job")
            assert one.table.size_bytes == 0
            with pytest.raises(NotFound):
                await one.objects.fetch(home)

    determinism.run(story, seed=1)


@settings(max_examples=20, deadline=None)
@given(sizes=st.lists(st.integers(INLINE_BYTES_MAX, 1 << 20), min_size=1, max_size=4), in_parcels=st.booleans())
def test_objects_come_one_after_another_as_they_were(sizes: list[int], in_parcels: bool) -> None:
    made = [Inline(b"x", [bytes([number]) * size]) for number, size in enumerate(sizes)]

    async def story() -> None:
        async with two_parties(in_parcels=in_parcels) as (one, other):
            for inline in made:
                reference = other.objects.keep(inline if not in_parcels else seal(inline), "job")
                fetched = await one.objects.fetch(reference)
                assert isinstance(fetched, Parcel) is in_parcels
                assert (fetched.open() if isinstance(fetched, Parcel) else fetched) == inline
            one.objects.done_with(reference)
            other.table.release("job")
            assert other.table.size_bytes == 0

    determinism.run(story, seed=1)


def test_a_holder_that_has_moved_is_asked_where_it_is() -> None:
    """What was opened to where it was, and kept for the next object, would have that one held for lost."""

    async def story() -> None:
        async with two_parties() as (one, other), trio.open_nursery() as nursery:
            elsewhere = Party(one.ether, 2, one.known, in_parcels=False, host=3)
            elsewhere.incarnation = 2
            made = Inline(b"x" * (3 * PART_BYTES), [])
            for holder in (other, elsewhere):
                reference = holder.objects.keep(made, "job")
                assert isinstance(reference, Reference)
                assert await one.objects.fetch(reference) == made
                if holder is other:
                    one.known[other.identity.node_id].address = await nursery.start(elsewhere.links.run)
                    await elsewhere.links.connect(one.links.address)
                    await trio.sleep(0.1)
            nursery.cancel_scope.cancel()

    determinism.run(story, seed=1)


async def _says_more(conversation: Conversation, peer: PeerInfo) -> None:
    want = await conversation.receive()
    await conversation.send(ObjectComes(want.request, 1 << 20))  # type: ignore[attr-defined]
    await conversation.stream.send_all(bytes((1 << 20) + 1))
    await trio.sleep_forever()


async def _says_another_size(conversation: Conversation, peer: PeerInfo) -> None:
    want = await conversation.receive()
    await conversation.send(ObjectComes(want.request, 1 << 40))  # type: ignore[attr-defined]
    await trio.sleep_forever()


async def _goes(conversation: Conversation, peer: PeerInfo) -> None:
    want = await conversation.receive()
    await conversation.send(ObjectComes(want.request, 1 << 20))  # type: ignore[attr-defined]
    await conversation.stream.send_all(b"x")


@pytest.mark.parametrize("serve", [_says_more, _says_another_size, _goes])
@pytest.mark.parametrize("in_parcels", [True, False])
def test_what_is_not_what_was_announced_is_a_lost_object(serve: BulkHandler, in_parcels: bool) -> None:
    async def story() -> None:
        async with two_parties(in_parcels=in_parcels) as (one, other):
            other.links._bulk_handler = serve
            with pytest.raises(LinkLost):
                await one.objects.fetch(Reference(bytes(16), 1 << 20, other.identity.node_id))

    determinism.run(story, seed=1)


def test_what_is_announced_longer_than_this_node_lends_is_not_begun() -> None:
    async def story() -> None:
        async with two_parties() as (one, other):
            other.links._bulk_handler = _must_not_be_asked
            with pytest.raises(LimitExceeded):
                await one.objects.fetch(Reference(bytes(16), 1 << 50, other.identity.node_id))

    determinism.run(story, seed=1)


async def _must_not_be_asked(conversation: Conversation, peer: PeerInfo) -> None:
    raise AssertionError("it was asked")


def test_objects_that_arrive_at_the_same_time_share_what_this_node_lends() -> None:
    async def story() -> None:
        async with two_parties() as (one, other):
            refused = []

            async def bring(number: int) -> None:
                try:
                    await one.objects.fetch(Reference(bytes(16), LENT_BYTES * 2 // 3, other.identity.node_id))
                except LimitExceeded:
                    refused.append(number)
                except LinkLost:
                    pass  # the one that was begun, and never came

            other.links._bulk_handler = _says_nothing
            async with trio.open_nursery() as nursery:
                for number in range(3):
                    nursery.start_soon(bring, number)
            assert len(refused) == 2

    determinism.run(story, seed=1)


async def _says_nothing(conversation: Conversation, peer: PeerInfo) -> None:
    await trio.sleep_forever()


async def _trickles(conversation: Conversation, peer: PeerInfo) -> None:
    want = await conversation.receive()
    await conversation.send(ObjectComes(want.request, 1 << 20))  # type: ignore[attr-defined]
    for _ in range(1 << 20):
        await conversation.stream.send_all(b"x")
        await trio.sleep(1)


@pytest.mark.parametrize("serve", [_says_nothing, _trickles])
def test_a_holder_that_is_in_no_hurry_is_not_waited_for(serve: BulkHandler) -> None:
    async def story() -> None:
        async with two_parties() as (one, other):
            other.links._bulk_handler = serve
            with trio.fail_after(60), pytest.raises(LinkLost, match="did not arrive"):
                await one.objects.fetch(Reference(bytes(16), 1 << 20, other.identity.node_id))

    determinism.run(story, seed=1)


async def _turns_away(stream: Stream) -> None:
    conversation = Conversation(stream, Role.RESPONDER)
    await conversation.receive()
    await conversation.send(ConnectAck(False, bytes(20), "n2", 1, 1, NotAllowed.wire_code, "go away"))
    await conversation.aclose()


def test_a_holder_that_turns_away_who_asks_has_lost_the_object() -> None:
    """Whatever it says, the one who waits is told of a lost result, not of something nobody expects."""

    async def story() -> None:
        async with two_parties(_turns_away) as (one, other):
            with pytest.raises(LinkLost):
                await one.objects.fetch(Reference(bytes(16), 10, other.identity.node_id))

    determinism.run(story, seed=1)


def test_holders_that_nobody_knows_leave_nothing_behind() -> None:
    async def story() -> None:
        async with two_parties() as (one, _):
            for number in range(100):
                with pytest.raises(LinkLost):
                    await one.objects.fetch(Reference(bytes(16), 10, number.to_bytes(20, "big")))
            assert not one.objects._limits

    determinism.run(story, seed=1)


def test_a_holder_that_goes_while_an_object_comes_leaves_no_connection_behind() -> None:
    async def story() -> None:
        async with two_parties() as (one, other):
            kept = other.objects.keep(Inline(b"x" * PART_BYTES), "job")
            assert isinstance(kept, Reference)
            holder = other.identity.node_id
            async with trio.open_nursery() as nursery:
                nursery.start_soon(one.objects.fetch, kept)
                while not one.objects._limits:
                    await trio.lowlevel.checkpoint()
                await one.objects.forget(holder)
                del one.known[holder]
            assert not one.objects._idle

    determinism.run(story, seed=1)


def test_what_was_dropped_is_listed_nowhere() -> None:
    table = ObjectTable(LENT_BYTES)
    for number in range(100):
        table.put(bytes([number]), b"x", "job")
        table.adopt(bytes([number]), f"job {number % 2}")
        table.drop(bytes([number]))
    assert not table._by_job
    assert not table._job_of


def test_an_object_goes_with_the_job_that_has_adopted_it() -> None:
    table = ObjectTable(LENT_BYTES)
    table.put(b"a", b"x", "one")
    table.adopt(b"a", "other")
    table.release("one")
    assert table.get(b"a") == b"x"
    table.release("other")
    assert table.get(b"a") is None
