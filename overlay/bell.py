"""What wakes the one task that looks after something."""

from __future__ import annotations

import trio


class Bell:
    """Rung however often, it is heard once: at once where it was rung before anybody listened. What it says is that
    there is something to look at; whoever hears it looks at everything."""

    def __init__(self) -> None:
        self._rung = trio.Event()

    def ring(self) -> None:
        self._rung.set()

    def hush(self) -> None:
        """What it was rung for up to now is being looked at."""
        if self._rung.is_set():
            self._rung = trio.Event()

    async def heard(self) -> None:
        """Waits until it is rung, and is quiet then. For one task at a time."""
        await self._rung.wait()
        self.hush()
