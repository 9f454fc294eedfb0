"""What every crowd understands: one JSON object per line in, one out. A crowd is some nodes of one DHT in one process.

Only the standard library is used here: a crowd of another system may run in an environment of its own.
"""

from __future__ import annotations

import json
import random
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

VALUE_BYTES = 100
Work = Callable[[], Awaitable[None]]


def value_of(key: str) -> bytes:
    return key.encode().ljust(VALUE_BYTES, b".")


async def lane(waiting: Iterator[Work]) -> None:
    """One of several that share what there is to do."""
    for work in waiting:
        await work()


class Crowd(ABC):
    """Nodes are known by their numbers."""

    def __init__(self) -> None:
        self.size = 0
        """Nodes; their numbers are below."""
        self.requests = 0
        self.bytes = 0
        """Payload of everything sent."""

    @abstractmethod
    async def start(self, count: int, contact: str | None) -> list[str]:
        """Addresses by which others can join. Without a contact the first node begins alone."""

    @abstractmethod
    async def settled(self, total: int) -> bool:
        """Whether everybody has found their places among `total` nodes."""

    @abstractmethod
    async def set(self, number: int, key: str, value: bytes) -> bool: ...

    @abstractmethod
    async def get(self, number: int, key: str) -> bytes | None: ...

    @abstractmethod
    async def together(self, works: list[Work], at_once: int) -> None: ...

    async def answer(self, command: dict[str, Any], draws: random.Random) -> object:
        match command["do"]:
            case "start":
                return await self.start(command["nodes"], command["contact"])
            case "settled":
                return await self.settled(command["total"])
            case "set" | "get":
                return await self._operate(command["do"], command["keys"], command["at_once"], draws)
            case "counts":
                return {"requests": self.requests, "bytes": self.bytes}
        raise ValueError(command)

    async def _operate(self, what: str, keys: list[str], at_once: int, draws: random.Random) -> object:
        took_s: list[float] = []

        def one(key: str) -> Work:
            number = draws.randrange(self.size)

            async def work() -> None:
                began_s = time.perf_counter()
                if what == "set":
                    done = await self.set(number, key, value_of(key))
                else:
                    done = await self.get(number, key) == value_of(key)
                if done:
                    took_s.append(time.perf_counter() - began_s)

            return work

        began_s = time.perf_counter()
        await self.together([one(key) for key in keys], at_once)
        return {"took_s": took_s, "failed": len(keys) - len(took_s), "wall_s": time.perf_counter() - began_s}


async def serve(crowd: Crowd, in_thread: Callable[[Callable[[], str]], Awaitable[str]]) -> None:
    """Until the input ends."""
    draws = random.Random(1)
    while line := await in_thread(sys.stdin.readline):
        print(json.dumps(await crowd.answer(json.loads(line), draws)), flush=True)
