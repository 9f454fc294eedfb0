"""What wakes the one task that looks after something."""

from __future__ import annotations

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.bell import Bell

ENOUGH_S = 10.0


def test_a_bell_rung_before_anybody_listens_is_heard_at_once_and_only_once() -> None:
    async def main() -> None:
        bell = Bell()
        bell.ring()
        bell.ring()
        await bell.heard()
        with trio.move_on_after(1.0) as silence:
            await bell.heard()
        assert silence.cancelled_caught

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


def test_what_a_bell_was_rung_for_before_it_is_hushed_is_not_heard() -> None:
    async def main() -> None:
        bell = Bell()
        bell.ring()
        bell.hush()
        with trio.move_on_after(1.0) as silence:
            await bell.heard()
        assert silence.cancelled_caught

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


@given(st.lists(st.sampled_from(["put", "turn"]), max_size=40))
def test_whoever_looks_whenever_a_bell_is_heard_misses_nothing(story: list[str]) -> None:
    async def main() -> None:
        bell, pile, seen = Bell(), list[int](), list[int]()

        async def look() -> None:
            while True:
                await bell.heard()
                while pile:
                    seen.append(pile.pop(0))
                    await trio.lowlevel.checkpoint()

        with trio.fail_after(ENOUGH_S):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(look)
                for number, step in enumerate(story):
                    if step == "put":
                        pile.append(number)
                        bell.ring()
                    else:
                        await trio.lowlevel.checkpoint()
                await trio.testing.wait_all_tasks_blocked()
                nursery.cancel_scope.cancel()
        assert seen == [number for number, step in enumerate(story) if step == "put"]

    trio.run(main)
