"""What was promised to the programs of scenario `mixed`, and whether it was kept: one check for each promise."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import groupby
from typing import Any, Final

from ..overlay.errors import NotAllowed
from ..overlay.wire import values
from .events import Span
from .jobs import Job
from .linearizability import TooMany, fault
from .programs import Deed, Diary
from .verdict import value_of
from .world import Machine, World

OPERATION_S: Final = 25.0
"""A deadline of 10 s for each of the two steps that an operation may take, and a bound for what follows."""
CLEAR: Final = frozenset({"Unavailable", "LinkLost", "DeadlineExceeded", "Syncing", "Conflict"})
CLOCKS_APART_S: Final = 2.0
_TASKS_MAX: Final = 60
_TASKS_PER_LINK: Final = 12
_RECORDS_PER_NODE: Final = 4


# Memory


def lost(diary: Diary) -> Iterator[str]:
    """Whatever is read in the end is at least as new as what was acknowledged of its key."""
    for key, deeds in _by_key(diary.of("set", "delete")):
        acknowledged = [deed for deed in deeds if deed.acknowledged]
        newest = max(acknowledged, key=lambda deed: deed.version, default=None)
        deleted = [deed for deed in deeds if deed.kind == "delete"]
        for read in diary.of("last get"):
            if read.key != key or not read.acknowledged or newest is None:
                continue
            if read.answer is not None and read.version < newest.version:
                yield f"{read.shown()}: version {read.version}, but {newest.shown()}, had version {newest.version}"
            in_time = (one for one in deleted if not one.acknowledged or one.version >= newest.version)
            if read.answer is None and not any(in_time):
                yield f"{read.shown()}: nothing, but {newest.shown()}, was acknowledged"


def disagreed(diary: Diary) -> Iterator[str]:
    """In the end everybody reads the same."""
    for key, reads in _by_key(diary.of("last get")):
        answers = {(read.answer, read.version if read.answer is not None else 0) for read in reads if read.acknowledged}
        if len(answers) > 1:
            yield f"{key} is {len(answers)} different things"


def invented(diary: Diary) -> Iterator[str]:
    """Nobody reads what nobody has written before."""
    written: dict[tuple[str, bytes | None], float] = {}
    for deed in diary.of("set", "compare and set"):
        written[deed.key, deed.value] = deed.called_s
    counters = {deed.key for deed in diary.of("increment")}
    for read in diary.of("get", "last get"):
        if read.answer is None or read.key in counters:
            continue
        if written.get((read.key, read.answer), math.inf) > read.returned_s:
            yield f"{read.shown()}: {read.answer!r}"


def won_twice(diary: Diary) -> Iterator[str]:
    """Of all who replace one version, one wins."""
    for key, deeds in _by_key(diary.of("compare and set")):
        winners: dict[int, Deed] = {}
        for deed in deeds:
            if deed.acknowledged:
                other = winners.setdefault(deed.answer, deed)
                if other is not deed:
                    yield f"{key}: {deed.shown()}, and {other.shown()}, both replaced version {deed.answer}"


def miscounted(diary: Diary) -> Iterator[str]:
    """Every acknowledged increment counts once, and those in doubt at most once."""
    for key, deeds in _by_key(diary.of("increment")):
        done = [deed for deed in deeds if deed.acknowledged]
        sums = [deed.answer for deed in done]
        if len(set(sums)) != len(sums):
            yield f"{key}: two increments had the same sum"
        for read in diary.of("last get"):
            if read.key == key and read.acknowledged:
                total: Any = 0 if read.answer is None else values.decode_bytes(read.answer)
                if not len(done) <= total <= len(deeds):
                    yield f"{key} at {read.node}: {total} after {len(done)} to {len(deeds)} increments"


def unexplained(diary: Diary) -> Iterator[str]:
    """Every register's history could have happened one operation at a time."""
    for register, history in diary.histories.items():
        try:
            found = fault(history)
        except TooMany:
            found = "too much is open to tell"
        if found is not None:
            yield f"{register}: {found}"


def _by_key(deeds: Iterable[Deed]) -> Iterator[tuple[str, list[Deed]]]:
    for key, group in groupby(sorted(deeds, key=lambda deed: deed.key), key=lambda deed: deed.key):
        yield key, list(group)


# Operations and tasks


def endless(world: World, diary: Diary) -> Iterator[str]:
    """Every operation ends in time, unless its node has died; while it is paused, no time passes for it."""
    for deed in diary.deeds:
        machine = world.machines[deed.node]
        died_s = next((life.ended_s for life in machine.lives if life.began_s <= deed.called_s <= life.ended_s), 0.0)
        ended_s = min(deed.returned_s, died_s)
        took_s = ended_s - deed.called_s - _paused_s(machine, deed.called_s, ended_s)
        if took_s > OPERATION_S:
            yield f"{deed.shown()}, took {took_s:.1f} s"


def _paused_s(machine: Machine, since_s: float, until_s: float) -> float:
    def overlap(pause: Span) -> float:
        return max(0.0, min(pause.ended_s, until_s) - max(pause.began_s, since_s))

    return sum(overlap(pause) for pause in machine.pauses)


def unclear(diary: Diary) -> Iterator[str]:
    """An operation that fails says that trying again may help, or that somebody else was first. Where there is only one
    other, its refusal is everybody's, even a liar's."""
    for deed in diary.deeds:
        if deed.error and deed.error not in CLEAR and not (deed.of_two and deed.error == NotAllowed.__name__):
            yield f"{deed.shown()}: {deed.error}: {deed.reason}"


def unfinished(world: World, diary: Diary) -> Iterator[str]:
    """A job whose submitter lives is done in the end."""
    for node, job in diary.jobs:
        running = world.machines[job.submitter].running
        if running is not None and running.node is node and not job.done:
            yield f"job {job.job_id} of {job.submitter} has {len(job.reports)} of {len(job.expected)} tasks"


def misdone(diary: Diary) -> Iterator[str]:
    """No task is accepted twice, or with a wrong result."""
    for _, job in diary.jobs:
        yield from _misdone(job)


def _misdone(job: Job) -> Iterator[str]:
    for index, reports in job.reports.items():
        if len(reports) > 1:
            yield f"task {index} of job {job.job_id}, by {', '.join(node for node, _ in reports)}"
        elif (got := value_of(reports[0][1])) != job.expected[index]:
            yield f"task {index} of job {job.job_id} gave {got!r} at {reports[0][0]}"


# Nodes


def clocks_apart(world: World) -> Iterator[str]:
    """All have the same mesh time."""
    times = {machine.name: world.node(machine.name).mesh_time.now_s() for machine in world.running()}
    earliest, latest = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
    if times[latest] - times[earliest] > CLOCKS_APART_S:
        yield f"{latest} is {times[latest] - times[earliest]:.1f} s ahead of {earliest}"


def swollen(world: World, diary: Diary) -> Iterator[str]:
    """Nothing has piled up on any node: no tasks of trio's, no records, no writes that never reach the disk."""
    nodes = len(world.machines)
    keys = len({deed.key for deed in diary.deeds})
    for machine in world.running():
        running = machine.running
        assert running is not None and running.task is not None
        links = list(running.node.links)
        tasks, records, backlog = _tasks_below(running.task), len(running.node.dht.share.records), running.store.backlog
        if tasks > _TASKS_MAX + _TASKS_PER_LINK * nodes:
            yield f"{machine.name} has {tasks} tasks"
        if len(links) >= nodes:
            yield f"{machine.name} has {len(links)} links to {nodes - 1} others"
        boots = sum(len(one.lives) for one in world.machines.values())
        if records > keys + _RECORDS_PER_NODE * boots:
            yield f"{machine.name} holds {records} records of {keys} keys"
        if backlog > records + keys:
            yield f"{machine.name} has {backlog} writes that are not on disk"


def _tasks_below(task: object) -> int:
    nurseries = getattr(task, "child_nurseries", ())
    return 1 + sum(_tasks_below(child) for nursery in nurseries for child in nursery.child_tasks)
