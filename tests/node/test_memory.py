"""Distributed memory, where everything takes as long as it may, and where others have written what they like."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
import trio
from potluck.node.memory import Cell, SharedMemory, ask_memory
from potluck.overlay.errors import LimitExceeded, PotluckError, Unavailable, UsageError
from potluck.overlay.registers.changes import ContentStep
from potluck.overlay.wire import values
from potluck.overlay.wire.records import VERSION_MAX
from potluck.overlay.wire.registers import Ballot, Configuration, State
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


class Agreed:
    """Registers of which there is one, with this in it."""

    def __init__(self, content: bytes) -> None:
        self.founding = SimpleNamespace(given_up=[])
        self.state = State(Configuration(2, [bytes(20)]), 0, content)

    def token(self) -> bytes:
        return bytes(8)

    async def read(self, name: bytes) -> bytes | None:
        await trio.lowlevel.checkpoint()
        return self.state.content

    async def operate(self, name: bytes, step: ContentStep) -> tuple[State, Any]:
        await trio.lowlevel.checkpoint()
        self.state, answer = step(self.state, Ballot(self.state.index + 1, bytes(28)))
        return self.state, answer


def agreed(content: bytes) -> SharedMemory:
    """A memory whose keys are agreed, each of them with this content."""

    async def get(namespace: str, key: bytes) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(agreed=True, value=content, version=1)

    async def put(*_: object) -> Any:
        await trio.lowlevel.checkpoint()
        return SimpleNamespace(agreed=True)

    around: Any = SimpleNamespace(
        config=SimpleNamespace(operation_timeout_s=LIMIT_S),
        clock=SimpleNamespace(next_version=lambda: 1 << 16),
        mesh_time=SimpleNamespace(now_s=lambda: 0.0),
    )
    registers: Any = Agreed(content)
    plain: Any = SimpleNamespace(get=get, put=put, delete=put)
    return SharedMemory(plain, registers, around)


def cell(version: int, value: object) -> bytes:
    return msgspec.msgpack.encode(Cell(version, values.encode_bytes(value)))


@pytest.mark.parametrize(
    ("operation", "arguments", "refused"),
    [
        ("mem_set", ["k", b"v", 10**400], UsageError),
        ("mem_set", ["k", b"v", float("inf")], UsageError),
        ("mem_set", ["k", b"v", float("nan")], UsageError),
        ("mem_set", ["k", b"v", -(10**5000)], UsageError),
        ("mem_set_if", ["k", b"v", 10**5000], UsageError),
        ("mem_set_if", ["k", b"v", -1], UsageError),
        ("mem_incr", ["k", 10**5000], UsageError),
    ],
)
def test_what_is_too_large_is_an_error_of_the_task_that_has_said_it(
    operation: str, arguments: list[object], refused: type[PotluckError]
) -> None:
    with pytest.raises(refused):
        trio.run(ask_memory, agreed(cell(1, 0)), operation, arguments)


def test_a_number_is_added_to_only_while_it_can_be_told_as_text() -> None:
    """JSON is what a program is answered, and Python writes no number of more than 4300 digits."""
    with pytest.raises(LimitExceeded, match="no number that can be added to"):
        trio.run(agreed(cell(1, 10**5000)).increment, "k", 1)
    grown = trio.run(agreed(cell(1, 10**2000)).increment, "k", 1)
    assert json.loads(json.dumps(grown))["value"] == 10**2000 + 1


@pytest.mark.parametrize("version", [VERSION_MAX, VERSION_MAX + 1, (1 << 64) - 1])
@pytest.mark.parametrize(
    "change",
    [
        lambda memory: memory.increment("k", 1),
        lambda memory: memory.set("k", b"value", None),
        lambda memory: memory.delete("k"),
    ],
    ids=["increment", "set", "delete"],
)
def test_a_version_that_no_clock_gives_out_is_an_error_of_ours(
    version: int, change: Callable[[SharedMemory], Awaitable[object]]
) -> None:
    with pytest.raises(PotluckError):
        trio.run(change, agreed(cell(version, 1)))
