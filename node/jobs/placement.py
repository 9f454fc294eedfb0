"""Placement, a pure function of what is known: who may run a task, and who of them should.

A node's load is its last report without this master's part, plus what this master has assigned and not seen finished.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Iterable, Mapping
from typing import Final

import msgspec

from ...overlay.ids import NodeId, is_called
from ...overlay.wire.capabilities import Capabilities, LoadReport
from ...overlay.wire.needs import NO_NEEDS, Needs

ALL_COMPARED_MAX: Final = 16
WAITING_MAX: Final = 32
"""Of one node, a quarter of those that may stand waiting there (`config.Execution`)."""
SHARED_WINDOWS: Final = 16
"""Of one master's jobs at a node whose policy chooses: so many are known there."""


class Worker(msgspec.Struct):
    """A node as its master sees it."""

    node_id: NodeId
    name: str
    boot_id: bytes
    capabilities: Capabilities
    own: bool
    """Same owner."""
    here: bool
    """This very node."""
    leaving: bool = False
    """It has said that it is to be given nothing more."""
    foreign: int = 0
    """Tasks of others there, by its last report."""
    outstanding: int = 0
    """This master's tasks there."""
    waiting: int = 0
    """Tasks there that wait for others and hold no slot, by its last report."""
    chooses: bool = False
    """Its policy does: among tasks of every job, if they are there."""
    closed: str = ""
    """Why it takes nothing from elsewhere now."""
    assigned: int = 0
    """How many this master has ever given it."""
    apart_since_s: float | None = None
    """It lives, by what others say, and does not answer here, or there is no link to it."""

    @property
    def slots(self) -> int:
        return self.capabilities.slots

    @property
    def engaged(self) -> int:
        """This master's tasks there that have a slot or want one. Those that wait are taken for its own: where they are
        another's, one task more waits there for a moment. But for so many only, because each keeps a process."""
        return max(0, self.outstanding - min(self.waiting, WAITING_MAX))

    def reported(self, load: LoadReport) -> bool:
        """Whether more may be given to it now."""
        opened = (load.chooses and not self.chooses) or (bool(self.closed) and not load.closed)
        has_more_room = opened or load.waiting > self.waiting
        self.chooses, self.closed = load.chooses, load.closed
        self.waiting = load.waiting
        self.foreign = max(0, load.busy + load.queued - self.engaged)
        return has_more_room


class Requirements(msgspec.Struct, frozen=True):
    """What a task asks of its node."""

    kind: str = ""
    on: str = ""
    python: str = ""
    """Minor version, for pickled callables."""
    confidential: bool = False
    nested: bool = False
    """A task waits for it."""
    as_guest: bool = False
    """It is of another owner than its master's node."""
    resources: Needs = NO_NEEDS
    network: bool = False
    refused_by: frozenset[NodeId] = frozenset()
    """Nodes that have said no to this job."""


def lacking(worker: Worker, needs: Requirements) -> str | None:
    """Why this node may not run the task, or None if it may."""
    can = worker.capabilities
    if needs.confidential and not worker.here:
        return "the task is confidential"
    if worker.apart_since_s is not None:
        return "it cannot be reached from here"
    if worker.leaving and not (worker.here and needs.nested):
        return "it leaves"
    if not can.slots:
        return "it lends no CPU"
    if worker.closed and (needs.as_guest or not worker.here):
        return worker.closed
    if needs.on and not is_called(worker.node_id, worker.name, needs.on):
        return f"the task is to run on {needs.on}"
    if needs.kind and needs.kind not in can.kinds:
        return f"it does not handle kind {needs.kind!r}"
    if needs.python and needs.python != can.python:
        return f"it has Python {can.python}, the function needs {needs.python}"
    if (needs.as_guest or not worker.own) and not can.runs_others:
        return "it runs only its owner's tasks"
    if needs.network and can.network not in (("all",) if needs.as_guest or not worker.own else ("own", "all")):
        return "its owner does not let the task use the network"
    if (short := _short_of(can, needs.resources)) is not None:
        return short
    if worker.node_id in needs.refused_by:
        return "it has refused this job"
    return None


def _short_of(can: Capabilities, needs: Needs) -> str | None:
    for has, wants, what in (
        (lent_cpus(can), needs.cpus, "CPUs"),
        (can.memory_bytes, needs.memory_bytes, "bytes of memory"),
        (len(can.gpus), needs.gpus, "GPUs"),
    ):
        if has < wants:
            return f"it has {has} {what}, the task needs {wants}"
    for name, value in needs.labels:
        if can.labels.get(name) != value:
            return f"it does not have the label {name}={value}"
    return None


def candidates(workers: Mapping[NodeId, Worker], needs: Requirements) -> list[Worker]:
    return [worker for worker in workers.values() if lacking(worker, needs) is None]


def will_be_able(workers: Mapping[NodeId, Worker], needs: Requirements) -> bool:
    """Whether somebody may run it once its owner lets it, or once it can be reached again."""
    return any(
        lacking(msgspec.structs.replace(worker, closed="", apart_since_s=None), needs) is None
        for worker in workers.values()
        if worker.closed or worker.apart_since_s is not None
    )


def tasks_per_slot(mean_s: float | None, ahead_s: float, per_slot_max: int) -> int:
    """How many tasks a node may hold at once for each of its slots: one, and as many more as `ahead_s` of work."""
    if mean_s is None:
        return 1
    if mean_s * per_slot_max <= ahead_s:  # as for zero, and for times so short that dividing by them overflows
        return per_slot_max
    return min(1 + math.floor(ahead_s / mean_s), per_slot_max)


def lent_cpus(can: Capabilities) -> int:
    """How many one task may have: each takes a slot and a core."""
    return min(can.slots, can.cpus)


def lanes(can: Capabilities, needs: Needs) -> int:
    """How many tasks with these needs a node that may run one can run at once, and none goes short."""
    if needs == NO_NEEDS:
        return can.slots
    shares = [(lent_cpus(can), needs.cpus), (can.memory_bytes, needs.memory_bytes), (len(can.gpus), needs.gpus)]
    return min([can.slots, *(max(1, there // each) for there, each in shares if each)])


def room(worker: Worker, needs: Needs, of_job: int, window_size: int, *, nested: bool = False) -> int:
    """How many more tasks of a job a node may be given that has `of_job` of them: its window, and nothing ahead where
    not every slot can run one. What a task has submitted counts for itself: that task has a place in the window of its
    own job, and in no other's, for as long as it waits for these. Where a policy chooses, a job's window is its own, up
    to `SHARED_WINDOWS` together."""
    free = window_size - (of_job if nested else max(of_job, worker.engaged))
    if worker.chooses and not nested:
        free = min(window_size - of_job, SHARED_WINDOWS * window_size - worker.engaged)
    beside = lanes(worker.capabilities, needs)
    return free if beside == worker.slots else min(free, beside - of_job)


def spread(
    count: int, workers: Iterable[Worker], room: Mapping[NodeId, int], chance: random.Random
) -> dict[NodeId, int]:
    """How many of `count` equal tasks go to whom: each to the least loaded with room left; where there are many, to the
    less loaded of two drawn ones. What is known of loads is a little old everywhere, and many masters that all chose
    the least loaded would choose the same (Mitzenmacher, The power of two choices, 2001).

    Ties: fewest ever assigned, this node, lower id.
    """
    free = [worker for worker in workers if room[worker.node_id] > 0]
    if count and len(free) == 1:
        return {free[0].node_id: min(count, room[free[0].node_id])}
    if len(free) > ALL_COMPARED_MAX:
        return _spread_by_two(count, free, room, chance)
    return _spread_by_all(count, free, room)


def _spread_by_two(
    count: int, free: list[Worker], room: Mapping[NodeId, int], chance: random.Random
) -> dict[NodeId, int]:
    given: dict[NodeId, int] = {}

    def order(place: int) -> tuple[float, int, bool, NodeId]:
        worker = free[place]
        here = given.get(worker.node_id, 0)
        load = (worker.foreign + worker.engaged + here) / worker.slots
        return load, worker.assigned + here, not worker.here, worker.node_id

    while count and free:
        places = chance.randrange(len(free)), chance.randrange(len(free))
        place = min(places, key=order)
        node_id = free[place].node_id
        given[node_id] = given.get(node_id, 0) + 1
        count -= 1
        if given[node_id] >= room[node_id]:
            free[place] = free[-1]
            free.pop()
    return given


def _spread_by_all(count: int, free: list[Worker], room: Mapping[NodeId, int]) -> dict[NodeId, int]:
    heap = [
        ((worker.foreign + worker.engaged) / worker.slots, worker.assigned, not worker.here, worker.node_id, worker)
        for worker in free
    ]
    heapq.heapify(heap)
    given: dict[NodeId, int] = {}
    while count and heap:
        _, assigned, elsewhere, node_id, worker = heap[0]
        here = given[node_id] = given.get(node_id, 0) + 1
        count -= 1
        if here >= room[node_id]:
            heapq.heappop(heap)
        else:  # divided anew: adding up fractions would tell equal loads apart
            load = (worker.foreign + worker.engaged + here) / worker.slots
            heapq.heapreplace(heap, (load, assigned + 1, elsewhere, node_id, worker))
    return given
