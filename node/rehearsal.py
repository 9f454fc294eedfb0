"""Shell: a workload run for real under a policy, in this machine's sandboxes.

It is the node's own execution, engine and sandboxes alike, with a master that gives out each task when it is due. A
task computes for as much CPU time as its bursts say; between them it waits without its slot, as tasks do that wait for
others. Submitters are owners; what one submits is one job, whose tasks share sandboxes.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import trio

from ..overlay.config import Execution, Quota
from ..overlay.errors import LimitExceeded, NotAllowed, NotFound, PotluckError, from_wire
from ..overlay.parcels import Parcel
from ..overlay.ports import Sandbox
from ..overlay.wire import values
from ..overlay.wire.streams import InputWanted, TaskOutput
from ..overlay.wire.work import (
    ExecutionConfirmation,
    Inline,
    Instruction,
    InstructionAssignment,
    Payload,
    Program,
    Reference,
    Returned,
    Started,
)
from .capabilities import FOR_OTHERS
from .execution.service import ExecutionService
from .execution.tasks import Task
from .lending.quotas import Quotas
from .scheduling.machine import SEGMENTS_MAX, Run, Segment
from .scheduling.policy import Policy
from .scheduling.times import RecordedTimes, Times
from .scheduling.workload import Work
from .system import SystemHost

_MASTER: Final = b"rehearsal"
_NOBODY: Final = hashlib.blake2b(b"", digest_size=20).digest()

_SOURCE: Final = b"""
import time
from potluck.overlay.wire.inside import pausing

def task(bursts_s, waits_s):
    for number, burst_s in enumerate(bursts_s):
        if number:
            with pausing():
                time.sleep(waits_s)
        until_s = time.process_time() + burst_s
        while time.process_time() < until_s:
            pass
"""


class Rehearsal:
    """Of one workload under one policy; the master of its tasks."""

    def __init__(self, policy: Policy[Task], works: Sequence[Work], sandboxes: Sequence[Sandbox], slots: int) -> None:
        self._works = sorted(works, key=lambda work: work.arrives_s)
        self._slots = slots
        self._tells_apart = any(sandbox.backend in FOR_OTHERS for sandbox in sandboxes)
        self._times: dict[int, RecordedTimes] = {}
        self._left = {work.key for work in works}
        self._failed: PotluckError | None = None
        self._over = trio.Event()
        self._queues: list[int] = []
        self._service = ExecutionService(
            Execution(),
            slots=slots,
            lent_bytes=0,
            host=SystemHost(Path("/")),
            quotas=Quotas(Quota()),
            policy=policy,
            sandboxes=sandboxes,
            own_owner=_NOBODY,
            objects=_Nothing(),
            node_name="rehearsal",
            mesh_time_s=trio.current_time,
            node_call=_refused,
        )
        self._service.load_changed = self._look_at_queues

    async def play(self, within_s: float) -> Run:
        """Raises LimitExceeded if it takes longer, and what a task has failed with."""
        with trio.move_on_after(within_s):
            async with trio.open_nursery() as nursery:
                await nursery.start(self._service.run)
                began_s = trio.current_time()
                for work in self._works:
                    await trio.sleep_until(began_s + work.arrives_s)
                    self._assign(work)
                    self._look_at_queues()
                await self._over.wait()
                nursery.cancel_scope.cancel()
        if self._failed is not None:
            raise self._failed
        if self._left:
            raise LimitExceeded(f"after {within_s:.0f} s, {len(self._left)} of {len(self._works)} tasks have not ended")
        return self._run(began_s)

    def _assign(self, work: Work) -> None:
        owner = _digest(work.submitter, 20) if self._tells_apart else _NOBODY
        program = Program(_digest(work.function, 32), "function", "task", "task.py", Inline(_SOURCE))
        arguments = values.encode([[list(work.bursts_s), work.waits_s], {}])
        message = InstructionAssignment(
            owner.hex(),
            1,
            program,
            [Instruction(work.key, arguments)],
            priority=work.priority,
            process_type=work.type.value,
            estimate_s=work.estimate_s,
        )
        self._service.assign(_MASTER, owner, self, message)
        newest = max(self._service.processes, default=0)
        if (task := self._service.processes.get(newest)) is not None and task.index == work.key:
            task.process.times = self._times[work.key] = RecordedTimes.of(task.process.times)

    def _look_at_queues(self) -> None:
        lengths = self._service.load().queued_by_level
        self._queues += [0] * (len(lengths) - len(self._queues))
        self._queues[: len(lengths)] = map(max, self._queues, lengths)

    # What the service tells its master

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        for report in confirmation.reports:
            if isinstance(report, Started):
                continue
            self._left.discard(report.index)
            if isinstance(report, Returned):
                self._failed = from_wire(report.code, report.reason)
            elif report.fault is not None:
                self._failed = from_wire(report.fault.code, report.fault.message)
        if self._failed is not None or not self._left:
            self._over.set()

    def say(self, message: TaskOutput | InputWanted) -> None:
        """Nobody listens to these tasks."""

    # What has become of it

    def _run(self, began_s: float) -> Run:
        run = Run(queue_lengths_max=self._queues)
        run.statistics.began(began_s)
        run.statistics.context_switches = self._service.switches
        for key, times in sorted(self._times.items(), key=lambda one: one[1].ended_s or 0.0):
            run.statistics.add(times)
            run.times[key] = _since(began_s, times)
        spans = [(since_s, until_s, key) for key, times in self._times.items() for since_s, until_s in times.spans]
        free = [(0.0, slot) for slot in range(self._slots)]
        for since_s, until_s, key in sorted(spans)[:SEGMENTS_MAX]:
            _free_s, slot = heapq.heapreplace(free, (until_s, free[0][1]))
            run.segments.append(Segment(slot, key, since_s - began_s, until_s - began_s))
        return run


class _Nothing:
    """These tasks have no long payloads."""

    async def fetch(self, reference: Reference) -> Inline | Parcel:
        await trio.lowlevel.checkpoint()
        raise NotFound("a rehearsal keeps nothing")

    is_full = False

    def keep_result(self, payload: Inline | Parcel, job: str) -> Payload:
        raise LimitExceeded("a rehearsal keeps nothing")

    def hold(self, more_bytes: int) -> None:
        pass


async def _refused(job: str, operation: str, arguments: object) -> object:
    await trio.lowlevel.checkpoint()
    raise NotAllowed("a rehearsal is no node")


def _digest(name: str, size_bytes: int) -> bytes:
    return hashlib.blake2b(name.encode(), digest_size=size_bytes).digest()


def _since(began_s: float, times: Times) -> Times:
    assert times.first_ran_s is not None and times.ended_s is not None
    return Times(
        times.created_s - began_s, times.first_ran_s - began_s, times.ran_s, times.waited_s, times.ended_s - began_s
    )
