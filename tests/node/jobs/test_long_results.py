"""Long results are brought to the master that asked for them, and no others."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import trio
import trio.testing
from potluck.node.jobs.service import Jobs
from potluck.node.objects import ObjectTable
from potluck.overlay.config import Config
from potluck.overlay.wire.control import JobOptions, TaskSpec
from potluck.overlay.wire.work import ExecutionConfirmation, Finished, Inline, Reference
from potluck.simulations.entropy import SeededEntropy

from .masters import IDS, PROGRAMS, worker

HERE, OWN, THIRD, STRANGER = IDS[0], IDS[1], IDS[4], IDS[3]
LONG_BYTES = 2000


class Objects:
    """Everything arrives, as soon as `arrives` is set."""

    def __init__(self) -> None:
        self.table = ObjectTable(1 << 30)
        self.freed = trio.Event()
        self.arrives = trio.Event()
        self.released: list[bytes] = []

    async def bring_home(self, reference: Reference, job: str) -> Reference:
        await self.arrives.wait()
        self.table.put(reference.object_id, bytes(reference.size_bytes), job)
        return Reference(reference.object_id, reference.size_bytes, HERE)

    def done_with(self, reference: Reference) -> None:
        self.released.append(reference.object_id)

    def keep(self, payload: Inline, job: str) -> Inline:
        return payload


class House:
    """A master with one job of two tasks, each of which was with two nodes."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.objects = Objects()
        self.told: list[Finished] = []
        anything: Any = SimpleNamespace(node_id=HERE, name="here", boot_id=bytes(16), owner_id=b"o")
        anything.up, anything.down, anything.unheard = [], [], []
        anything.observers, anything.load_observers = [], []
        anything.on = anything.load = lambda *_: None
        anything.get = lambda _: None
        anything.now_s = lambda: 0.0
        objects: Any = self.objects
        config = Config("here", Path("nowhere"), Path("nowhere"))
        entropy = SeededEntropy(1, "jobs")
        self.jobs = Jobs(config, anything, anything, anything, objects, entropy, anything, anything)
        self._nursery = nursery

    async def start(self) -> None:
        able = worker(HERE).capabilities
        own: Any = SimpleNamespace(assign=lambda _: None, cancel=lambda _: None, complete=lambda _: None)
        await self._nursery.start(self.jobs.run, own, able)
        self.job = self.jobs.open(JobOptions(), self._tell)
        specs = [TaskSpec(number, Inline(b"x")) for number in range(2)]
        self.jobs.submit(self.job, PROGRAMS["function"], specs)
        for task in self.jobs.master.jobs[self.job].tasks.values():
            task.earlier = (OWN, THIRD)

    def _tell(self, _job: str, batches: list[Any]) -> None:
        self.told += [report for batch in batches for report in batch.reports if isinstance(report, Finished)]

    async def reported(self, node_id: bytes, index: int, object_id: bytes, *, late_epochs: int = 0) -> None:
        epoch = self.jobs.master.jobs[self.job].epoch + late_epochs
        report = Finished(index, 0, value=Reference(object_id, LONG_BYTES, node_id))
        self.jobs._take(node_id, ExecutionConfirmation(self.job, epoch, [report]))  # type: ignore[arg-type]
        await trio.testing.wait_all_tasks_blocked()


def test_of_two_copies_of_a_long_result_one_is_kept() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            house = House(nursery)
            await house.start()
            house.objects.arrives.set()
            await house.reported(OWN, 0, b"first")
            await house.reported(THIRD, 0, b"second")
            assert house.objects.table.size_bytes == LONG_BYTES
            assert [report.index for report in house.told] == [0]
            assert house.objects.released == [b"second"], "it lies at its worker no longer than it has to"
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_a_copy_that_comes_home_when_another_was_first_is_let_go() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            house = House(nursery)
            await house.start()
            await house.reported(OWN, 0, b"first")
            report = Finished(0, 0, value=Inline(b"short, from the other"))
            epoch = house.jobs.master.jobs[house.job].epoch
            house.jobs._take(THIRD, ExecutionConfirmation(house.job, epoch, [report]))
            assert house.told == [report]
            house.objects.arrives.set()
            await trio.testing.wait_all_tasks_blocked()
            assert house.objects.table.size_bytes == 0
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))


def test_what_nobody_was_asked_for_is_not_fetched() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            house = House(nursery)
            await house.start()
            house.objects.arrives.set()
            await house.reported(STRANGER, 0, b"of another's task")
            await house.reported(OWN, 7, b"of no task")
            await house.reported(OWN, 1, b"of another epoch", late_epochs=1)
            assert house.objects.table.size_bytes == 0
            assert not house.told
            nursery.cancel_scope.cancel()

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.01))
