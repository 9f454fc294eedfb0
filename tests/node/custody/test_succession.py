"""Who succeeds a master that is gone."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from potluck.node.custody.succession import Succession
from potluck.overlay.background import Background


def test_a_job_that_was_taken_over_before_its_turn_came_is_left_alone() -> None:
    async def main() -> None:
        background = Background()
        shelf: Any = SimpleNamespace(heads={})  # another attempt has been faster
        anything: Any = SimpleNamespace(own_id=bytes(20))
        succession = Succession(anything, shelf, anything, background)
        async with trio.open_nursery() as nursery:
            await nursery.start(background.run)
            succession.begin("job")
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()

    trio.run(main)
