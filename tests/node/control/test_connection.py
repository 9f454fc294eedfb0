"""The node's end of a program's connection, and what a program can do to its node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import count
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from potluck.node.control import connection as connection_module
from potluck.node.control.connection import Connection
from potluck.node.control.rights import OfProgram
from potluck.node.objects import ObjectTable
from potluck.overlay import boundary
from potluck.overlay.errors import InternalError, LimitExceeded
from potluck.overlay.parcels import Parcel
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.control import (
    TO_NODE,
    TO_PROGRAM,
    Answer,
    AskMembers,
    AskPolicy,
    AskStatus,
    CloseJob,
    Failure,
    JobOptions,
    OpenJob,
)


class Program:
    """Says all it has to say, and goes when it has had an answer to each."""

    takes_parcels = False

    def __init__(self, said: Sequence[Message], *, reads: bool = True) -> None:
        self._said = b"".join(map(TO_NODE.encode, said))
        self._reads = reads
        self._frames = TO_PROGRAM.frames()
        self.answers = len(said)
        self.heard: list[Any] = []

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        if not self._reads:
            return False
        self._frames.feed(data)
        while (body := self._frames.next_body()) is not None:
            self.heard.append(TO_PROGRAM.decode(body))
        return True

    async def flush(self) -> None:
        if not self._reads:
            await trio.sleep_forever()
        await trio.lowlevel.checkpoint()

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        said, self._said = self._said, b""
        while not said and len(self.heard) < self.answers:
            await trio.lowlevel.checkpoint()
        return said

    def claim(self, size_bytes: int) -> Parcel:
        raise AssertionError("nothing comes in parcels here")


def test_a_request_that_fails_by_a_fault_of_ours_is_answered_and_the_others_are_served() -> None:
    def status() -> dict[str, object]:
        raise OverflowError("nobody has thought of that")

    async def members() -> list[dict[str, object]]:
        await trio.lowlevel.checkpoint()
        raise ValueError("nor of this")

    async def main() -> None:
        faults: list[Exception] = []
        node: Any = SimpleNamespace(
            status=status,
            memory=None,
            members=members,
            policy=lambda spec: {"policy": "fair"},
            failed=lambda what, fault: faults.append(fault),
            objects=SimpleNamespace(table=SimpleNamespace(release=lambda name: None)),
        )
        program = Program([AskStatus(1), AskMembers(2), AskPolicy(3)])
        with trio.fail_after(10):
            await Connection(node, None, program, OfProgram()).run()
        refused = {one.request: one.code for one in program.heard if isinstance(one, Failure)}
        assert refused == {1: InternalError.wire_code, 2: InternalError.wire_code}
        answered = {one.request: json.loads(one.json) for one in program.heard if isinstance(one, Answer)}
        assert answered == {3: {"policy": "fair"}}
        assert {type(fault) for fault in faults} == {OverflowError, ValueError}

    trio.run(main)


def a_node(**offers: Any) -> Any:
    return SimpleNamespace(
        failed=boundary.log, memory=None, objects=SimpleNamespace(table=ObjectTable(1 << 20)), **offers
    )


def test_a_program_that_reads_no_answers_is_not_heard_until_it_does() -> None:
    asked = 0

    def policy(spec: str) -> dict[str, object]:
        nonlocal asked
        asked += 1
        return {"policy": "f" * 60_000}

    async def main() -> None:
        program = Program([AskPolicy(number) for number in range(1000)], reads=False)
        connection = Connection(a_node(policy=policy), None, program, OfProgram())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert 100 < asked < 200
            nursery.cancel_scope.cancel()

    trio.run(main)


def test_only_so_many_requests_wait_for_their_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "_ASKED_MAX", 10)
    monkeypatch.setattr(connection_module, "_ASKING_AT_ONCE", 2)
    let_go = trio.Event()

    async def members() -> list[dict[str, object]]:
        await let_go.wait()
        return []

    async def main() -> None:
        program = Program([AskMembers(number) for number in range(20)])
        connection = Connection(a_node(members=members), None, program, OfProgram())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connection.run)
            while not program.heard:
                await trio.lowlevel.checkpoint()
            let_go.set()
        refused = [one for one in program.heard if isinstance(one, Failure)]
        assert {one.code for one in refused} == {LimitExceeded.wire_code}
        assert len(program.heard) == 20
        assert 8 <= len(refused) <= 10

    trio.run(main)


def test_only_so_many_jobs_are_open() -> None:
    class Few(OfProgram):
        jobs_max = 3

    async def main() -> None:
        numbers = count()
        jobs = SimpleNamespace(open=lambda *_, origin: f"job {next(numbers)}", close=lambda job: None)
        node = a_node(jobs=jobs, streams=SimpleNamespace(leave=lambda job: None))
        program = Program(
            [*(OpenJob(number, JobOptions()) for number in range(5)), CloseJob("job 0"), OpenJob(5, JobOptions())]
        )
        program.answers = 6
        with trio.fail_after(10):
            await Connection(node, None, program, Few()).run()
        refused = [one.request for one in program.heard if isinstance(one, Failure)]
        assert refused == [3, 4]

    trio.run(main)
