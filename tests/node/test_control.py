"""The node's end of a program's connection, and what a program can do to its node."""

from __future__ import annotations

import json
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import trio
from potluck.node import control
from potluck.node.rights import OfProgram
from potluck.overlay.errors import InternalError
from potluck.overlay.parcels import Parcel
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.control import TO_NODE, TO_PROGRAM, Answer, AskMembers, AskPolicy, AskStatus, Failure


class Program:
    """Says all it has to say, and goes when it has had an answer to each."""

    takes_parcels = False

    def __init__(self, said: Sequence[Message]) -> None:
        self._said = b"".join(map(TO_NODE.encode, said))
        self._frames = TO_PROGRAM.frames()
        self._left = len(said)
        self.heard: list[Any] = []

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        self._frames.feed(data)
        while (body := self._frames.next_body()) is not None:
            self.heard.append(TO_PROGRAM.decode(body))
        return True

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        said, self._said = self._said, b""
        while not said and len(self.heard) < self._left:
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
            await control._Connection(node, None, program, OfProgram()).run()
        refused = {one.request: one.code for one in program.heard if isinstance(one, Failure)}
        assert refused == {1: InternalError.wire_code, 2: InternalError.wire_code}
        answered = {one.request: json.loads(one.json) for one in program.heard if isinstance(one, Answer)}
        assert answered == {3: {"policy": "fair"}}
        assert {type(fault) for fault in faults} == {OverflowError, ValueError}

    trio.run(main)
