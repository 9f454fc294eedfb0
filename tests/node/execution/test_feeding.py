"""Standard input that is still on its way when its task is gone."""

from __future__ import annotations

from typing import Any

import trio
import trio.testing
from potluck.node.execution.feeding import Feeder
from potluck.overlay.wire.streams import InputPart


def test_a_part_that_comes_after_the_worker_has_died_is_left() -> None:
    asked: list[int] = []
    feeder = Feeder(asked.append, lambda: None)
    process: Any = None

    async def story() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(feeder.run, process)
            feeder.begin()
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()  # as when the worker's process ends
        feeder.take(InputPart("job", 0, 0, 0, b"late"))
        feeder.begin()

    trio.run(story)
    assert asked == [0]
