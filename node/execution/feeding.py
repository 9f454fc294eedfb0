"""Gives the task of one worker its standard input: asks for it piece by piece, and for no more than the pipe takes."""

from __future__ import annotations

from collections.abc import Callable

import trio

from ...overlay.errors import LinkLost
from ...overlay.ports import WorkerProcess
from ...overlay.wire.streams import InputPart


class Feeder:
    """`ask` sends for what comes at an offset; it is brought to `take`. `starve` is called when it cannot be had.

    A worker is fed once in its life.
    """

    def __init__(self, ask: Callable[[int], None], starve: Callable[[], None]) -> None:
        self._ask = ask
        self._starve = starve
        self._wanted = trio.Event()
        self._awaited: int | None = None
        """From which byte on there is something to come."""
        self._arriving, self._arrived = trio.open_memory_channel[InputPart](1)

    def take(self, part: InputPart) -> None:
        """What was not asked for, or comes a second time, is left."""
        if part.offset == self._awaited:
            self._awaited = None
            self._arriving.send_nowait(part)

    def begin(self) -> None:
        """Also another time: what was asked for may have been lost on the way."""
        if self._awaited is not None:
            self._ask(self._awaited)
        self._wanted.set()

    async def run(self, process: WorkerProcess) -> None:
        """Until the task has all its input, or its process is gone: then what still arrives comes too late."""
        with self._arriving, self._arrived:
            try:
                await self._feed(process)
            finally:
                self._awaited = None

    async def _feed(self, process: WorkerProcess) -> None:
        await self._wanted.wait()
        offset = 0
        while True:
            self._awaited = offset
            self._ask(offset)
            part = await self._arrived.receive()
            if part.gone:
                self._starve()
                return
            offset += len(part.data)
            try:
                await process.send_input(part.data)
            except LinkLost:
                return
            if part.end:
                break
        process.end_input()
