"""What lasting jobs have that this node's disk has not: long results are taken in only as fast as they are written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import trio

BYTES_MAX: Final = 32 << 20


class Backlog:
    def __init__(self, bytes_max: int = BYTES_MAX) -> None:
        self.size_bytes = 0
        self._bytes_max = bytes_max
        self._turn = trio.Lock()
        self._freed = trio.lowlevel.ParkingLot()

    def add(self, size_bytes: int) -> None:
        """Of what is here already; it does not wait."""
        self.size_bytes += size_bytes

    def remove(self, size_bytes: int) -> None:
        """It is on disk, or not to be written any more."""
        self.size_bytes -= size_bytes
        self._freed.unpark_all()

    @asynccontextmanager
    async def turn(self, size_bytes: int) -> AsyncIterator[None]:
        """Room to take so much in, first come, first served; what is longer than all the room comes alone."""
        async with self._turn:
            while self.size_bytes and self.size_bytes + size_bytes > self._bytes_max:
                await self._freed.park()
            self.add(size_bytes)
        try:
            yield
        finally:
            self.remove(size_bytes)
