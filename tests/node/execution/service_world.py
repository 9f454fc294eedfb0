"""A running execution service, and a master that gives it work."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import trio
from potluck.node.execution.service import ExecutionService
from potluck.node.lending.quotas import Quotas
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.scheduling.catalogue import make
from potluck.node.system import SystemHost
from potluck.overlay.config import Execution, Quota
from potluck.overlay.errors import (
    NotFound,
)
from potluck.overlay.parcels import Parcel
from potluck.overlay.wire import values
from potluck.overlay.wire.streams import InputWanted, TaskOutput
from potluck.overlay.wire.work import (
    ExecutionConfirmation,
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Payload,
    Program,
    Reference,
    Report,
)

from ...kin import children
from ..sandboxes.sandbox_suite import DEADLINE_S

OWN, MASTER = b"owner", b"master"


class LackingOne(SystemHost):
    """This machine, without one of the modules that there could be. `installations` counts those that it sees."""

    def __init__(self, installations: Callable[[], int]) -> None:
        super().__init__(Path("/"))
        self._installations = installations

    def installed(self) -> tuple[int, ...]:
        return (self._installations(),)

    def has_module(self, name: str) -> bool:
        return name != "absent"


class Kept:
    """Long payloads, held here instead of in a node's object table."""

    def __init__(self) -> None:
        self.objects: dict[bytes, Inline] = {}

    async def fetch(self, reference: Reference) -> Inline:
        await trio.lowlevel.checkpoint()
        if reference.object_id not in self.objects:
            raise NotFound("no such object")
        return self.objects[reference.object_id]

    is_full = False

    def keep_result(self, payload: Inline | Parcel, job: str) -> Payload:
        object_id = len(self.objects).to_bytes(16, "big")
        self.objects[object_id] = payload.open() if isinstance(payload, Parcel) else payload
        return Reference(object_id, payload.size_bytes, b"h" * 20)

    def hold(self, more_bytes: int) -> None:
        pass


@dataclass
class Master:
    """Assigns and collects what is confirmed."""

    service: ExecutionService
    kept: Kept
    reports: dict[int, list[Report]] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    batches: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        self.batches += 1
        for report in confirmation.reports:
            self.reports.setdefault(report.index, []).append(report)
        self._changed.set()
        self._changed = trio.Event()

    def say(self, message: TaskOutput | InputWanted) -> None:
        self.said.append(message)
        self._changed.set()
        self._changed = trio.Event()

    async def heard(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        while not wanted(self.said):
            await self._changed.wait()
        return self.said

    def assign(self, source: str, *calls: Payload, job: str = "j", owner: bytes = OWN, **options: Any) -> None:
        form = options.pop("form", "function")
        body = None if form == "kind" else Inline(source.encode())
        modules = options.pop("modules", [])
        program = Program(source.encode()[:32].ljust(32), form, "task", "job.py", body, modules=modules)
        first = options.pop("first", 0)
        instructions = [Instruction(first + number, arguments) for number, arguments in enumerate(calls)]
        message = InstructionAssignment(job, 1, program, instructions, **options)
        self.service.assign(MASTER, owner, self, message)

    async def last(self, index: int, kind: type = Finished) -> Any:
        while not any(isinstance(report, kind) for report in self.reports.get(index, ())):
            await self._changed.wait()
        return self.reports[index][-1]

    async def value(self, index: int) -> object:
        report = await self.last(index)
        assert report.fault is None, report.fault
        return values.decode(report.value)


Play = Callable[[Master], Awaitable[None]]


def service(slots: int = 2, config: Execution | None = None, **options: Any) -> Callable[[Play], Callable[[], None]]:
    """Makes a test of a coroutine that plays the master of a running service; afterwards no process is left."""

    async def echo(job: str, operation: str, arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        if operation == "fail":
            raise NotFound("nothing")
        return [job, operation, arguments]

    def decorate(play: Play) -> Callable[[], None]:
        async def main() -> None:
            kept = Kept()
            one = ExecutionService(
                config or Execution(),
                slots=slots,
                policy=make(options.get("policy", "fcfs")),
                sandboxes=options.get("sandboxes", [BareSandbox()]),
                own_owner=OWN,
                objects=kept,
                node_name="b1",
                mesh_time_s=lambda: trio.current_time() + 1000,
                node_call=echo,
                lent_bytes=1 << 30,
                quotas=Quotas(Quota()),
                host=LackingOne(options.get("installations", lambda: 0)),
            )
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    await nursery.start(one.run)
                    await play(Master(one, kept))
                    nursery.cancel_scope.cancel()

        def test() -> None:
            trio.run(main)
            assert not children(os.getpid())

        test.__name__, test.__doc__ = play.__name__, play.__doc__
        return test

    return decorate
