"""Long results of lasting jobs wait for the disk, in the order in which they came."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.custody.backlog import Backlog

MAX_BYTES = 10


@given(st.lists(st.integers(1, 15), max_size=12))
def test_never_more_is_taken_in_than_there_is_room_for_but_for_one_that_is_too_long(sizes: list[int]) -> None:
    backlog = Backlog(MAX_BYTES)
    begun: list[int] = []

    async def take(number: int, size_bytes: int) -> None:
        async with backlog.turn(size_bytes):
            begun.append(number)
            assert backlog.size_bytes <= MAX_BYTES or backlog.size_bytes == size_bytes
            await trio.testing.wait_all_tasks_blocked()

    async def all_of_them() -> None:
        async with trio.open_nursery() as nursery:
            for number, size_bytes in enumerate(sizes):
                nursery.start_soon(take, number, size_bytes)
                await trio.testing.wait_all_tasks_blocked()

    trio.run(all_of_them)
    assert begun == list(range(len(sizes)))
    assert backlog.size_bytes == 0


def test_what_is_not_on_disk_yet_holds_others_back() -> None:
    async def followed() -> None:
        backlog = Backlog(MAX_BYTES)
        backlog.add(8)
        came = trio.Event()

        async def come() -> None:
            async with backlog.turn(5):
                came.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            await trio.testing.wait_all_tasks_blocked()
            assert not came.is_set()
            backlog.remove(8)
            await came.wait()

    trio.run(followed)


def test_whoever_gives_up_waiting_leaves_the_way_free() -> None:
    async def followed() -> None:
        backlog = Backlog(MAX_BYTES)
        backlog.add(8)
        with trio.move_on_after(0):
            async with backlog.turn(5):
                raise AssertionError("there is no room")
        backlog.remove(8)
        async with backlog.turn(10):
            assert backlog.size_bytes == 10
        assert backlog.size_bytes == 0

    trio.run(followed)
