"""Several records in one message: what a put or a get of each would have done, with fewer questions."""

from __future__ import annotations

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.dht.batches import cut
from potluck.overlay.dht.records import LASTING
from potluck.overlay.dht.replication import Write
from potluck.overlay.dht.store import size_bytes
from potluck.overlay.wire import records as wire
from potluck.overlay.wire.framing import VALUE_BYTES_MAX
from potluck.overlay.wire.peer import PEER
from potluck.overlay.wire.records import BATCH_MAX, Record
from potluck.simulations.world import World

from .story import has, holders, play, running

KEYS = [b"key %d" % n for n in range(60)]


def record(size: int) -> Record:
    return Record("mem", bytes(1024), bytes(size), (1 << 63) - 1, LASTING, bytes(32), bytes(64), True, True)


@given(sizes=st.lists(st.integers(0, 40) | st.integers(VALUE_BYTES_MAX - 600, VALUE_BYTES_MAX), max_size=600))
def test_batches_hold_everything_in_order_and_each_fits_into_a_frame(sizes: list[int]) -> None:
    records = [record(size) for size in sizes]
    batches = list(cut(records))
    assert [one for batch in batches for one in batch] == records
    for batch in batches:
        assert 0 < len(batch) <= BATCH_MAX
        assert len(batch) == 1 or sum(map(size_bytes, batch)) <= VALUE_BYTES_MAX
        PEER.encode(wire.StoreMany((1 << 53) - 1, batch))


def count_requests(world: World) -> list[str]:
    """The names of all questions that nodes ask each other from now on."""
    asked: list[str] = []
    for node in running(world):
        for link in node.links:
            ask = link.request

            async def counted(make, answer_type, timeout_s, ask=ask):  # type: ignore[no-untyped-def]
                asked.append(type(make(0)).__name__)
                return await ask(make, answer_type, timeout_s)

            link.request = counted  # type: ignore[method-assign]
    return asked


async def read_all(world: World, name: str) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    reader = world.node(name).replication
    await reader.get_many("mem", KEYS, lambda record: found.update({record.key: record.value}))
    return found


def test_many_keys_are_written_and_read_with_one_message_to_each_holder() -> None:
    async def story(world: World, names: list[str]) -> None:
        asked = count_requests(world)
        await world.node(names[0]).replication.put_many(Write("mem", key, b"v" + key) for key in KEYS)
        assert asked.count("StoreMany") == len(names) - 1
        assert "Store" not in asked
        for key in KEYS:
            for name in holders(running(world), key):
                assert has(world.node(name), key) == [b"v" + key]
        asked.clear()
        assert await read_all(world, names[1]) == {key: b"v" + key for key in KEYS}
        assert asked.count("Fetch") == len(names) - 1
        assert "FindValue" not in asked

    play(story, 6)


def test_keys_on_which_holders_differ_or_that_are_gone_are_read_one_by_one() -> None:
    async def story(world: World, names: list[str]) -> None:
        writer = world.node(names[0]).replication
        await writer.put_many(Write("mem", key, b"v") for key in KEYS[:20])
        for name in names[1:]:
            share = world.node(name).dht.share
            for record in [one for one in share.records if one.key == KEYS[3]]:
                share.records.forget(record)
        await writer.delete("mem", KEYS[4])
        found = await read_all(world, names[2])
        assert set(found) == set(KEYS[:20]) - {KEYS[4]}

    play(story, 3)


def test_a_batch_of_which_holders_have_died_is_written_all_the_same() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).replication.put_many(Write("mem", key, b"old") for key in KEYS)
        for name in names[4:]:
            world.power_off(name)
        with trio.fail_after(8):
            await world.node(names[0]).replication.put_many(Write("mem", key, b"new") for key in KEYS)
        assert set((await read_all(world, names[1])).values()) == {b"new"}

    play(story, 7)


@pytest.mark.parametrize("size", [0, 1000, VALUE_BYTES_MAX])
def test_whole_places_come_back_as_many_as_one_frame_holds(size: int) -> None:
    async def story(world: World, names: list[str]) -> None:
        writer = world.node(names[0]).replication
        for key in KEYS[:4]:
            await writer.put("mem", key, bytes(size))
        assert (await read_all(world, names[1])).keys() == set(KEYS[:4])

    play(story, 2)
