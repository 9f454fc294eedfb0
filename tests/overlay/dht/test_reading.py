"""What a get asks, and of whom."""

from __future__ import annotations

import trio
from potluck.overlay.links.link import Link
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.records import FindValue
from potluck.simulations.world import World

from .story import holders, play, running


def heard(world: World, asked: list[str]) -> None:
    """From now on whoever is asked for a record is written down."""
    for node in running(world):
        answer = node.links._handlers[FindValue]

        def note(link: Link, message: Message, name: str = node.name, answer: object = answer) -> None:
            asked.append(name)
            answer(link, message)  # type: ignore[operator]

        node.links._handlers[FindValue] = note


def test_a_get_asks_no_more_than_a_majority_that_agrees() -> None:
    async def story(world: World, names: list[str]) -> None:
        reader, asked = world.node(names[0]), list[str]()
        for number in range(20):
            await reader.replication.put("mem", b"%d" % number, b"value")
        await trio.sleep(5)
        heard(world, asked)
        for number in range(20):
            key = b"%d" % number
            nearest = holders(running(world), key)
            asked.clear()
            record = await reader.replication.get("mem", key)
            assert record is not None
            assert len(asked) == 3 - (names[0] in nearest)
            await trio.sleep(5)
            assert len(asked) == 3 - (names[0] in nearest), "nobody is asked afterwards"

    play(story, 8)


def test_where_a_holder_is_silent_others_are_asked_long_before_it_has_failed() -> None:
    async def story(world: World, names: list[str]) -> None:
        reader = world.node(names[0])
        await reader.replication.put("mem", b"key", b"value")
        await trio.sleep(5)
        nearest = [name for name in holders(running(world), b"key") if name != names[0]]
        for name in nearest[:2]:
            world.power_off(name)
        began_s = trio.current_time()
        record = await reader.replication.get("mem", b"key")
        assert record is not None
        assert trio.current_time() - began_s < 0.5

    play(story, 8)
