"""One member against the rest, in whole nodes: it fills nobody's disk, and nobody waits for it."""

from __future__ import annotations

import math

import msgspec
import pytest
import trio
from potluck.overlay.clock import version_at
from potluck.overlay.dht.limits import Limits
from potluck.overlay.dht.records import Draft, sign
from potluck.overlay.errors import LimitExceeded, QuotaExceeded, Refused, Unavailable, from_wire
from potluck.overlay.wire import records as wire
from potluck.simulations.world import NODES_PER_OWNER, World

from .story import play, running


def limit(world: World, **limits: int) -> None:
    for node in running(world):
        node.dht.share._limits = Limits(msgspec.structs.replace(node.config.dht, **limits))


@pytest.mark.parametrize(
    "limits,error", [({"owner_records_max": 20}, LimitExceeded), ({"owner_bytes_max": 20_000}, QuotaExceeded)]
)
def test_an_owner_at_its_quota_is_told_so_can_still_delete_and_others_can_write(
    limits: dict[str, int], error: type[Refused]
) -> None:
    async def story(world: World, names: list[str]) -> None:
        greedy, other = (world.node(name).replication for name in (names[0], names[NODES_PER_OWNER]))
        limit(world, **limits)
        with pytest.raises(error):
            for n in range(100):
                await greedy.put("mem", b"%d" % n, bytes(1200))
        await greedy.delete("mem", b"0")
        await other.put("mem", b"mine", bytes(1200))
        for node in running(world):
            assert len(node.dht.share.records) < 40

    play(story, 5)


def test_a_flood_of_stores_is_put_off_and_the_writes_of_others_go_through() -> None:
    async def story(world: World, names: list[str]) -> None:
        limit(world, stores_peer_max=8, owner_stores_per_s=50)
        flooder, other = world.node(names[0]), world.node(names[NODES_PER_OWNER])
        now_s = flooder.dht.mesh_time.now_s()
        flood = [
            sign(Draft("mem", b"%d" % n, b"v", version_at(now_s), math.inf), flooder.identity.key) for n in range(300)
        ]
        answers: list[wire.Stored] = []

        async def store(number: int) -> None:
            holder = next(one for one in flooder.dht.nearest_members(other.node_id, 1))
            answers.append(await flooder.dht.store_at(holder, flood[number]))

        async with trio.open_nursery() as nursery:
            for number in range(len(flood)):
                nursery.start_soon(store, number)
            with trio.fail_after(1):
                await other.replication.put("mem", b"mine", b"v")
        refused = [answer for answer in answers if not answer.accepted]
        assert len(answers) - len(refused) < 100
        assert all(isinstance(from_wire(answer.code, answer.reason), Unavailable) for answer in refused)

    play(story, 4)


def test_one_owner_takes_a_part_of_a_holder_set_and_leaves_room_for_others() -> None:
    async def story(world: World, names: list[str]) -> None:
        share = world.node(names[0]).dht.share
        share._config = msgspec.structs.replace(share._config, owner_set_records_max=2)
        keys, now_s = [world.machines[name].key for name in names], share._mesh_time.now_s()

        async def publish(number: int, value: bytes, version_s: float) -> bool:
            draft = Draft("chunk", bytes(32), value, version_at(version_s), now_s + 600)
            return (await share.keep(sign(draft, keys[number]))).accepted

        assert [await publish(n, b"bits", now_s) for n in range(NODES_PER_OWNER)] == [True, True, False]
        assert await publish(0, b"more", now_s + 1), "what it has it may refresh"
        assert await publish(NODES_PER_OWNER, b"bits", now_s)

    play(story, 4)
