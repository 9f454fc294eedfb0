"""What a fuzz target is, and what must hold whatever is fed to it."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

SECONDS_MAX = 1.0
GROWTH_BYTES_MAX = 64 << 20


class Broken(AssertionError):
    """An input did what no input may do."""


@dataclass(frozen=True)
class Target:
    """`feed` takes any bytes. It returns, or raises one of `refuses`; everything else is a fault."""

    feed: Callable[[bytes], None]
    refuses: tuple[type[Exception], ...]
    seeds: Callable[[], list[bytes]]
    """Inputs made from real messages, the same every time: what mutations start from."""
    cost: int = 1
    """How many inputs of the cheapest target take as long as one of this."""
    seconds_max: float = SECONDS_MAX
    """Of this process: what else runs in it counts, too."""


def attempt(target: Target, data: bytes) -> bool:
    """Whether the input was taken. Raises what should not have been raised, and Broken beyond time or memory."""
    peak_before_bytes, began_s = _peak_bytes(), time.process_time()
    try:
        target.feed(data)
        taken = True
    except target.refuses:
        taken = False
    took_s, grew_bytes = time.process_time() - began_s, _peak_bytes() - peak_before_bytes
    if took_s > target.seconds_max:
        raise Broken(f"{len(data)} bytes took {took_s:.1f} s")
    if grew_bytes > GROWTH_BYTES_MAX:
        raise Broken(f"{len(data)} bytes took {grew_bytes >> 20} MiB")
    return taken


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


class Script:
    """Decisions read from bytes, so that a target with a story to tell is one of bytes, too. Zeros follow the end."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._place = 0

    @property
    def goes_on(self) -> bool:
        return self._place < len(self._data)

    def below(self, limit: int) -> int:
        """For limits up to 256."""
        return self.take(1)[0] % limit

    def take(self, size: int) -> bytes:
        taken = self._data[self._place : self._place + size]
        self._place += size
        return taken + bytes(size - len(taken))

    def piece(self) -> bytes:
        """Two bytes of length, then as many as there are."""
        size = int.from_bytes(self.take(2), "big")
        taken = self._data[self._place : self._place + size]
        self._place += size
        return taken

    def rest(self) -> bytes:
        taken, self._place = self._data[self._place :], len(self._data)
        return taken

    def damaged(self, data: bytes) -> bytes:
        """The same in one case of two, else with one byte changed."""
        if not data or self.below(2) == 0:
            return data
        place = int.from_bytes(self.take(2), "big") % len(data)
        return data[:place] + bytes([data[place] ^ (self.below(255) + 1)]) + data[place + 1 :]


def to_the_end(work: Coroutine[Any, Any, Any]) -> Any:
    """Of a coroutine in which nothing waits."""
    try:
        work.send(None)
    except StopIteration as ended:
        return ended.value
    raise AssertionError("it waits for something")


def piece(data: bytes) -> bytes:
    """As `Script.piece` reads it."""
    return len(data).to_bytes(2, "big") + data
