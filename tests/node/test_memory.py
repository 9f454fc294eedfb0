"""Distributed memory, where everything takes as long as it may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from potluck.node.memory import SharedMemory
from potluck.overlay.errors import Unavailable
from trio.testing import MockClock

LIMIT_S = 10.0


class Slow:
    """Whatever is asked of it takes nearly as long as an operation may, and then there is nothing."""

    def __init__(self) -> None:
        self.founding = SimpleNamespace(given_up=[])

    def token(self) -> bytes:
        return bytes(8)

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        async def operation(*_: object) -> Any:
            await trio.sleep(LIMIT_S - 0.1)
            return SimpleNamespace(agreed=True, value=b"", version=0) if name in ("put", "delete") else None

        return operation


@pytest.mark.parametrize(
    "change",
    [
        lambda memory: memory.increment("key", 1),
        lambda memory: memory.set("key", b"value", None, if_version=0),
        lambda memory: memory.set("key", b"value", None),
        lambda memory: memory.delete("key"),
    ],
    ids=["increment", "compare and set", "set", "delete"],
)
def test_a_change_that_takes_too_long_in_all_its_parts_ends_with_an_answer(
    change: Callable[[SharedMemory], Awaitable[object]],
) -> None:
    async def main() -> None:
        around: Any = SimpleNamespace(
            config=SimpleNamespace(operation_timeout_s=LIMIT_S),
            clock=None,
            mesh_time=SimpleNamespace(now_s=lambda: 0.0),
        )
        slow: Any = Slow()
        memory = SharedMemory(slow, slow, around)
        with pytest.raises(Unavailable, match="does not agree on 'key' in 20 s"):
            await change(memory)
        assert trio.current_time() <= 2 * LIMIT_S + 0.01

    trio.run(main, clock=MockClock(autojump_threshold=0))
