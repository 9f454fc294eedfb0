"""What moves when nodes come, go, die and return, in whole nodes: everything that is due, once, and no more."""

from __future__ import annotations

from collections import Counter

import pytest
import trio
from potluck.node.daemon import Node
from potluck.overlay.dht.handover import GIVE_S, SURPLUS_S, HandOver
from potluck.overlay.ids import node_id_of
from potluck.overlay.links.link import Link
from potluck.overlay.links.links import Handler
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.records import ListRange
from potluck.simulations.world import World

from .story import DAY_S, has, holders, play, prepare, running, settled

LARGE = bytes(2000)
"""More than is copied beyond the nearest holders."""
KEYS = [b"key %d" % n for n in range(40)]


async def write_all(world: World, name: str) -> None:
    for key in KEYS:
        await world.node(name).replication.put("mem", key, LARGE)
    await trio.sleep(0.5)


def taken(world: World) -> dict[str, int]:
    return {node.name: node.hand_over.taken for node in running(world)}


def test_a_newcomer_takes_what_is_due_at_it_and_nobody_else_takes_anything() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        before = taken(world)
        await world.start(names[-1])
        await settled(world)
        due = sum(names[-1] in holders(running(world), key) for key in KEYS)
        assert 0 < due < len(KEYS)
        assert taken(world) == {**before, names[-1]: due}
        await trio.sleep(60)
        assert taken(world) == {**before, names[-1]: due}, "and nothing moves again"

    play(story, 9, started=8)


@pytest.mark.parametrize("how", ["power_off", "kill", "leave"])
def test_who_goes_is_replaced_by_the_next_nearest_and_nothing_else_moves(how: str) -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        before, held = taken(world), {key: holders(running(world), key) for key in KEYS}
        if how == "leave":
            await world.leave(names[-1])
        else:
            getattr(world, how)(names[-1])
        await settled(world)
        due = dict.fromkeys(names[:-1], 0)
        for key in KEYS:
            for name in set(holders(running(world), key)) - set(held[key]):
                due[name] += 1
        assert sum(due.values()) == sum(names[-1] in those for those in held.values())
        assert {name: count - before[name] for name, count in taken(world).items()} == due

    play(story, 9)


async def _asks_nobody(self: HandOver) -> None:
    """Settles, and moves nothing."""
    self._engine.taken(self._engine.due, self._engine.losses)


def test_a_write_that_a_dead_holder_never_answered_goes_to_who_holds_in_its_stead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """That one may have asked the others for what has become due before they had this."""

    async def story(world: World, names: list[str]) -> None:
        (writer, *_, dead) = holders(running(world), b"key")
        world.power_off(dead)
        monkeypatch.setattr(HandOver, "_round", _asks_nobody)
        await world.node(writer).replication.put("mem", b"key", LARGE)
        await settled(world)
        await trio.sleep(5)
        now = holders(running(world), b"key")
        assert dead not in now
        assert [name for name in now if not has(world.node(name), b"key")] == []

    play(story, 8)


def test_of_several_that_die_within_a_second_the_survivors_ask_each_other_once() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        asked: Counter[tuple[str, str]] = Counter()
        for node in running(world):
            answer = node.links._handlers[ListRange]

            def count(link: Link, message: Message, name: str = node.name, answer: Handler = answer) -> None:
                asked[link.peer.name, name] += 1
                answer(link, message)

            node.links._handlers[ListRange] = count
        for name in names[-3:]:
            world.kill(name)
            await trio.sleep(0.2)
        await settled(world)
        left = names[:-3]
        assert asked == Counter({(asker, name): 1 for asker in left for name in left if asker != name})

    play(story, 9)


def test_a_node_that_leaves_first_gives_what_it_alone_has() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        keeper = world.node(names[0])
        for node in running(world):
            for record in list(node.dht.share.records) if node is not keeper else []:
                node.dht.share.records.forget(record)
        kept = [key for key in KEYS if has(keeper, key)]
        await world.leave(names[0])
        assert keeper.hand_over.given
        for key in kept:
            assert sum(has(world.node(name), key) == [LARGE] for name in holders(running(world), key)) == 5
        await settled(world)
        for node in running(world):
            for key in kept:
                assert await node.replication.get("mem", key) is not None

    play(story, 8)


def test_a_node_that_leaves_gives_nothing_that_most_others_have() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        leaving = world.node(names[1])
        await world.leave(names[1])
        assert leaving.hand_over.given == 0

    play(story, 8)


def test_leaving_takes_no_longer_because_somebody_does_not_answer() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        world.freeze(names[1])
        began_s = trio.current_time()
        await world.leave(names[0])
        assert trio.current_time() - began_s < GIVE_S + 2
        world.thaw(names[1])

    play(story, 6)


def test_copies_that_nobody_needs_are_dropped_once_every_holder_has_them() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        for name in names[6:]:
            await world.start(name)
        await settled(world)
        extra = [(node.name, key) for node in running(world) for key in KEYS if is_extra(world, node, key)]
        assert extra, "who held a key before the others came still does"
        await trio.sleep(SURPLUS_S + 5)
        assert not [key for node in running(world) for key in KEYS if is_extra(world, node, key)]
        for key in KEYS:
            assert sum(has(node, key) == [LARGE] for node in running(world)) == 5
            assert await world.node(names[0]).replication.get("mem", key) is not None

    play(story, 10, started=6)


def test_a_copy_stays_while_a_holder_lacks_it() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        for name in names[6:]:
            await world.start(name)
        await settled(world)
        extra = [(node, key) for node in running(world) for key in KEYS if is_extra(world, node, key)]
        for _, key in extra:
            lacking = world.node(holders(running(world), key)[0])
            for record in [one for one in lacking.dht.share.records if one.key == key]:
                lacking.dht.share.records.forget(record)
        await trio.sleep(SURPLUS_S + 5)
        assert all(has(node, key) for node, key in extra)

    play(story, 10, started=6)


def is_extra(world: World, node: Node, key: bytes) -> bool:
    return bool(has(node, key)) and node.name not in holders(running(world), key)


def test_a_machine_whose_disk_is_lost_gets_back_what_it_has_to_hold() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        world.power_off(names[1])
        world.machines[names[1]].disk = type(world.machines[names[1]].disk)()
        await world.start(names[1])
        await settled(world)
        for key in KEYS:
            if names[1] in holders(running(world), key):
                assert has(world.node(names[1]), key) == [LARGE]

    play(story, 6)


def test_what_a_node_wrote_alone_is_handed_over_when_others_come() -> None:
    async def story(world: World, names: list[str]) -> None:
        alone = world.node(names[0])
        put = await alone.replication.put("mem", b"k", b"v")
        assert put.replicas == 1
        for name in names[1:]:
            await world.start(name)
        await settled(world)
        world.power_off(names[0])
        await settled(world)
        for name in names[1:]:
            record = await world.node(name).replication.get("mem", b"k")
            assert record is not None
            assert record.value == b"v"

    play(story, 4, started=1)


def test_a_record_moves_on_when_its_publisher_is_gone_for_ever_and_the_mesh_was_off() -> None:
    async def story(world: World, names: list[str]) -> None:
        await world.node(names[0]).replication.put("mem", b"k", LARGE)
        await trio.sleep(0.5)
        for name in names[:5]:
            world.power_off(name)
        for name in [*names[1:5], *names[5:]]:
            await world.start(name)
        await settled(world)
        for name in holders(running(world), b"k"):
            assert has(world.node(name), b"k") == [LARGE]

    play(story, 8, started=5)


def test_the_whole_mesh_is_switched_off_and_on_and_loses_nothing() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[2])
        await world.node(names[0]).replication.delete("mem", KEYS[0])
        await trio.sleep(0.5)
        for name in names:
            world.power_off(name)
        await trio.sleep(100)
        async with trio.open_nursery() as nursery:
            for name in names:
                nursery.start_soon(world.start, name)
        for key in KEYS:
            record = await world.node(names[1]).replication.get("mem", key)
            assert (record is None) == (key == KEYS[0])

    play(story, 5)


def test_while_a_node_still_receives_its_share_others_answer_for_it() -> None:
    async def story(world: World, names: list[str]) -> None:
        await write_all(world, names[0])
        for name in names[5:]:
            await world.start(name)
            for key in KEYS[:5]:
                for node in running(world):
                    assert await node.replication.get("mem", key) is not None, f"{node.name} while {name} is new"

    play(story, 8, started=5)


def test_a_node_that_restarts_alone_waits_for_company_before_it_says_that_nothing_is_there() -> None:
    async def story(world: World, names: list[str]) -> None:
        world.power_off(names[0])
        await settled(world)
        await world.node(names[1]).replication.put("mem", b"k", b"v")
        await world.start(names[0])
        record = await world.node(names[0]).replication.get("mem", b"k")
        assert record is not None
        assert record.value == b"v"

    play(story, 3)


# Away for longer than a tombstone lives


def _old_disks(world: World, names: list[str], company_days: list[float | None], having: list[str]) -> None:
    """As left by a mesh in which `k` was written 50 days ago."""
    now_s = world.machines[names[0]].clock.now_s()
    for name, days in zip(names, company_days, strict=True):
        keys = {b"k": 50 * DAY_S, b"new": DAY_S} if name in having else {}
        machine = world.machines[name]
        near = [node_id_of(world.machines[other].key.public) for other in names if other != name]
        prepare(machine, now_s, company_s=None if days is None else days * DAY_S, keys=keys, near=near)


def test_what_was_deleted_while_a_node_was_away_for_long_stays_deleted() -> None:
    async def story(world: World, names: list[str]) -> None:
        _old_disks(world, names, [0.1, 0.1, 0.1, 40], having=names[3:])
        for name in names:
            await world.start(name)
        await settled(world)
        for node in running(world):
            assert await node.replication.get("mem", b"k") is None
            assert await node.replication.get("mem", b"new") is not None, "no tombstone of its time has expired yet"
        assert has(world.node(names[3]), b"k") == []

    play(story, 4, started=0)


@pytest.mark.parametrize("company_days", [[40, 40, 40], [None, None, 40], [None, None, None]])
def test_where_nobody_was_there_throughout_what_is_old_is_kept(company_days: list[float | None]) -> None:
    async def story(world: World, names: list[str]) -> None:
        _old_disks(world, names, company_days, having=names[2:])
        for name in names:
            await world.start(name)
        await settled(world)
        for node in running(world):
            assert has(node, b"k") == [b"old"]
            assert await node.replication.get("mem", b"k") is not None

    play(story, 3, started=0)


# Writing and reading meanwhile


def test_holders_that_die_during_a_write_are_replaced() -> None:
    async def story(world: World, names: list[str]) -> None:
        writer = world.node(names[0])
        for name in names[4:]:
            world.power_off(name)
        began_s = trio.current_time()
        put = await writer.replication.put("mem", b"k", b"v")
        assert put.replicas >= 3
        assert trio.current_time() - began_s < 6

    play(story, 7)


def test_the_holders_of_a_set_are_united_expire_one_by_one_and_move() -> None:
    async def story(world: World, names: list[str]) -> None:
        manifest = bytes(32)
        for number, name in enumerate(names[:4]):
            lives_s = 20.0 if number == 0 else 600.0
            await world.node(name).replication.put("chunk", manifest, b"%d" % number, lives_s)
        await world.node(names[1]).replication.put("chunk", manifest, b"more", 600.0)

        async def found(name: str) -> list[bytes]:
            records = await world.node(name).replication.get_all("chunk", manifest)
            return sorted(record.value for record in records)

        for name in names:
            assert await found(name) == [b"0", b"2", b"3", b"more"]
        for name in holders(running(world), manifest, "chunk")[:2]:
            world.power_off(name)
        await settled(world)
        await trio.sleep(20)
        for node in running(world):
            assert await found(node.name) == [b"2", b"3", b"more"]
            if node.name in holders(running(world), manifest, "chunk"):
                assert len(has(node, manifest, "chunk")) == 3

    play(story, 8)
