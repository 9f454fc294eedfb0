"""Tasks that plain functions start."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio


class Background:
    """A nursery that outlives nobody: before `run` and after its end, `start` does nothing, because whoever would be
    served by the task is not there."""

    def __init__(self) -> None:
        self._nursery: trio.Nursery | None = None

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            try:
                task_status.started()
                await trio.sleep_forever()
            finally:
                self._nursery = None

    @property
    def running(self) -> bool:
        return self._nursery is not None

    def start(self, work: Callable[..., Awaitable[object]], *args: object) -> None:
        if self._nursery is not None:
            self._nursery.start_soon(work, *args)
