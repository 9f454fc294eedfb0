"""Pre-emption: as the engine decides it, and of real process trees."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from potluck.node.execution import events
from potluck.node.execution.turns import STOPPED_MAX
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.scheduling.catalogue import make
from potluck.overlay.config import Execution
from potluck.overlay.errors import Cancelled, TaskTimedOut, WorkerLost
from potluck.overlay.ports import Sandbox
from potluck.overlay.wire import values
from potluck.overlay.wire.work import CancelInstructions, Finished

from ...kin import children, descendants
from ..sandboxes.sandbox_suite import call
from ..sandboxes.test_sandboxes import bubblewrap_or_skip
from .engine_world import MASTERS, World
from .service_world import MASTER, Master, service

MINE = next(iter(MASTERS))


def world(policy: str = "rr:time_quantum_ms=100", jobs: int = 2) -> World:
    """One slot, and a long task of each job."""
    made = World(slots=1, policy=policy, config=Execution())
    for number in range(jobs):
        made.assign(MINE, f"j{number}", [0])
        made.ready()
    return made


def states(made: World) -> dict[str, str]:
    """What the process of each job does."""
    told = {}
    for process in made.processes.values():
        if process.owner_and_job is not None:
            is_still = "stopping" if process.stopping else "stopped"
            told[process.owner_and_job[1]] = is_still if process.stopped else "runs"
    return told


def stop_and_go(made: World) -> None:
    made.advance(0.1)
    for number in made.stopping():
        made.stands_still(number)
    made.ready()


def test_a_slot_is_given_on_only_when_all_of_the_tree_stands_still() -> None:
    made = world()
    assert states(made) == {"j0": "runs"}
    made.advance(0.099)
    assert states(made) == {"j0": "runs"}
    made.advance(0.001)
    assert states(made) == {"j0": "stopping"}
    made.stands_still(made.stopping()[0])
    made.ready()
    assert states(made) == {"j0": "stopped", "j1": "runs"}


def test_a_task_goes_on_in_its_own_process() -> None:
    made = world()
    for expected in ("j1", "j0", "j1", "j0"):
        stop_and_go(made)
        assert [job for job, does in states(made).items() if does == "runs"] == [expected]
    (first,) = [number for number, one in made.processes.items() if one.owner_and_job and one.owner_and_job[1] == "j0"]
    assert len(made.processes[first].queue) == 1, "it was sent once"
    (report,) = [one for one in made.reply(first) if isinstance(one, Finished)]
    assert report.fault is None


def test_who_runs_alone_is_not_stopped() -> None:
    made = world(jobs=1)
    for _ in range(10):
        made.advance(0.1)
    assert states(made) == {"j0": "runs"}
    assert made.engine.statistics()["context_switches"] == 0


def test_the_time_that_it_stood_still_is_not_counted_against_a_task() -> None:
    made = World(slots=1, policy="rr:time_quantum_ms=100", config=Execution())
    for job in ("j0", "j1"):
        made.assign(MINE, job, [0], timeout_s=0.25)
        made.ready()
    for _ in range(4):  # each has run for 0.2 s, and stood still as long
        stop_and_go(made)
    assert "stopped" in states(made).values()
    made.advance(0.051)
    condemned = [number for number, process in made.processes.items() if process.killed]
    assert len(condemned) == 1
    reports = made.end(condemned[0])
    assert [report.fault.code for report in reports if isinstance(report, Finished)] == [TaskTimedOut.wire_code]


def test_a_stopped_task_can_be_cancelled() -> None:
    made = world()
    stop_and_go(made)
    made.step(events.CancelAsked(MINE, CancelInstructions("j0", 1, [0])))
    (killed,) = [number for number, process in made.processes.items() if process.killed]
    (report,) = made.end(killed)
    assert report.fault.code == Cancelled.wire_code
    assert states(made) == {"j1": "runs"}


def test_a_stopped_task_is_lost_with_its_process() -> None:
    made = world()
    stop_and_go(made)
    (still,) = [number for number, process in made.processes.items() if process.stopped]
    (report,) = [one for one in made.end(still) if isinstance(one, Finished)]
    assert report.fault.code == WorkerLost.wire_code


def test_an_end_that_was_on_its_way_counts() -> None:
    """It was told to stop when it had ended already: its process is an idle one again."""
    made = world()
    made.advance(0.1)
    (stopping,) = made.stopping()
    (report,) = [one for one in made.reply(stopping) if isinstance(one, Finished)]
    assert report.fault is None
    assert states(made) == {"j0": "stopping"}
    made.stands_still(stopping)
    made.ready()
    assert states(made) == {"j0": "runs", "j1": "runs"}, "an idle process is not kept still"
    assert made.engine.load().busy == 1


def test_a_higher_priority_pushes_away_the_lowest() -> None:
    made = World(slots=2, policy="priority", config=Execution())
    for job, priority in (("j0", 0), ("j1", -1), ("j2", 5), ("j3", -1)):
        made.assign(MINE, job, [0], priority=priority)
        made.ready()
    assert states(made) == {"j0": "runs", "j1": "stopping"}
    made.stands_still(made.stopping()[0])
    made.ready()
    assert states(made) == {"j0": "runs", "j1": "stopped", "j2": "runs"}


def test_no_more_trees_stand_still_than_may() -> None:
    made = world(jobs=STOPPED_MAX + 5)
    for _ in range(3 * STOPPED_MAX):
        stop_and_go(made)
        assert sum(process.stopped for process in made.processes.values()) <= STOPPED_MAX
    for _ in range(1000):
        for number in made.busy():
            made.reply(number)
        stop_and_go(made)
    assert not made.open, "the others have their turn when one of these is over"


def test_what_waits_moves_over_when_the_policy_changes() -> None:
    made = world("fcfs", jobs=3)
    for _ in range(3):
        stop_and_go(made)
    assert states(made) == {"j0": "runs"}
    made.engine.change_policy(made.now_s, make("fair:time_quantum_ms=100"))
    stop_and_go(made)
    stop_and_go(made)
    assert len(states(made)) > 1
    assert made.engine.statistics()["policy"] == "fair"


BUSY = """
import hashlib, os, subprocess, sys, threading, time

def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000)  # without the interpreter's lock

def task(mark):
    subprocess.Popen([sys.executable, "-c", "while True: pass", mark], start_new_session=True)
    threading.Thread(target=burn, daemon=True).start()
    burn()
"""


def trees(*marks: str) -> dict[str, list[psutil.Process]]:
    """The process trees in which somebody bears a mark."""
    found = {}
    for root in children(os.getpid()):
        tree = [root, *descendants(root.pid)]
        for mark in marks:
            for process in tree:
                with contextlib.suppress(psutil.Error):
                    if mark in process.cmdline():
                        found[mark] = tree
    return found


def cpu_s(tree: list[psutil.Process]) -> float:
    total_s = 0.0
    for process in tree:
        with contextlib.suppress(psutil.Error):
            times = process.cpu_times()
            total_s += times.user + times.system
    return total_s


async def found(*marks: str) -> dict[str, list[psutil.Process]]:
    """Once there are so many."""
    while True:
        await trio.sleep(0.05)
        if len(them := trees(*marks)) == len(marks):
            return them


def sharing(over_s: float, tries: int) -> Callable[[Master], Awaitable[None]]:
    """Whatever else runs on the machine takes its time from one more than from the other: any try may show it."""

    async def share(master: Master) -> None:
        for mark in ("tree-a", "tree-b"):
            master.assign(BUSY, call(mark), job=mark)
        them = await found("tree-a", "tree-b")
        seen = []
        for _ in range(tries):
            before = {mark: cpu_s(tree) for mark, tree in them.items()}
            await trio.sleep(over_s)
            got = [cpu_s(tree) - before[mark] for mark, tree in them.items()]
            seen.append(got[0] / max(sum(got), 0.01))
            if 0.45 <= seen[-1] <= 0.55:
                return
        raise AssertionError(seen)

    return share


def bare() -> Sandbox:
    return BareSandbox()


def threads_of(tree: list[psutil.Process], mark: str) -> list[Path]:
    """Of the task that bears the mark: of the process it began, and of its own. The walls around it do not stand."""
    (begun,) = [process for process in tree if mark in process.cmdline()]
    return [thread for pid in (begun.pid, begun.ppid()) for thread in Path(f"/proc/{pid}/task").glob("*")]


def ran_ns(threads: list[Path]) -> dict[Path, int]:
    """How long each has run since it began, as the scheduler counts it."""
    return {thread: int((thread / "schedstat").read_text().split()[0]) for thread in threads}


async def stand_still(threads: list[Path]) -> float:
    """Until they do, and how long it takes: one that waits for a processor when it is stopped has to get it first."""
    began_s = time.monotonic()
    while any((thread / "stat").read_text().rpartition(")")[2].split()[0] != "T" for thread in threads):  # noqa: ASYNC110
        await trio.sleep(0.001)
    return time.monotonic() - began_s


BACKENDS = pytest.mark.parametrize("backend", [bubblewrap_or_skip, bare])


def test_two_trees_of_threads_and_sessions_share_one_slot_evenly() -> None:
    service(slots=1, policy="rr:time_quantum_ms=100", sandboxes=[bubblewrap_or_skip()])(sharing(3.0, tries=4))()


@pytest.mark.nightly
def test_two_trees_share_one_slot_evenly_over_ten_seconds() -> None:
    service(slots=1, policy="rr:time_quantum_ms=100", sandboxes=[bubblewrap_or_skip()])(sharing(10.0, tries=2))()


@BACKENDS
def test_nothing_of_a_stopped_tree_runs(backend: Callable[[], Sandbox]) -> None:
    async def play(master: Master) -> None:
        engine = master.service._engine
        for mark in ("tree-a", "tree-b"):
            master.assign(BUSY, call(mark), job=mark)
        them = await found("tree-a", "tree-b")
        waits_s: list[float] = []
        while len(waits_s) < 6:
            tasks = {job.name: task for job in engine.jobs.values() for task in job.tasks.values()}
            still = [(mark, task) for mark, task in tasks.items() if task.worker.stopped and not task.worker.stopping]
            for mark, task in still:
                stops = task.process.stops
                threads = threads_of(them[mark], mark)
                wait_s = await stand_still(threads)
                before_ns = ran_ns(threads)
                await trio.sleep(0.03)
                after_ns = ran_ns(threads)
                if task.worker.stopped and task.process.stops == stops:
                    assert after_ns == before_ns
                    waits_s += [wait_s] if len(threads) == 3 else []
            await trio.sleep(0.01)
        assert min(waits_s) < 0.02, waits_s

    service(slots=1, policy="rr:time_quantum_ms=200", sandboxes=[backend()])(play)()


NOW = "import time\ndef task(): return time.monotonic()"


def test_what_is_more_important_runs_at_once() -> None:
    """The best of some, because whatever else runs on the machine is in its way, too."""
    waits_s: list[float] = []

    async def play(master: Master) -> None:
        master.assign(BUSY, call("low"), job="low", priority=-1)
        await found("low")
        for number in range(15):
            asked_s = time.monotonic()
            master.assign(NOW, call(), job="high", first=100 + number, priority=1)
            began_s: Any = await master.value(100 + number)
            waits_s.append(began_s - asked_s)
            await trio.sleep(0.05)  # the lower one runs again

    service(slots=1, policy="priority", sandboxes=[bubblewrap_or_skip()])(play)()
    assert min(waits_s) <= 0.05, waits_s


@service(slots=1, policy="rr:time_quantum_ms=20")
async def test_tasks_that_take_turns_end_as_if_they_had_not(master: Master) -> None:
    source = "def task(n):\n    total = 0\n    for i in range(n): total += i\n    print('done', n)\n    return total"
    for number in range(6):
        master.assign(source, call(1_500_000 + number), job=f"job-{number}", first=number)
    for number in range(6):
        n = 1_500_000 + number
        report = await master.last(number)
        assert report.fault is None and values.decode(report.value) == n * (n - 1) // 2
        assert report.stdout == f"done {n}\n".encode()
    assert master.service.load().busy == 0
    assert master.service.statistics()["context_switches"] >= 6


@service(slots=1, policy="rr:time_quantum_ms=20")
async def test_a_stopped_tree_can_be_killed(master: Master) -> None:
    for mark in ("tree-a", "tree-b"):
        master.assign(BUSY, call(mark), job=mark, first=int(mark == "tree-b"))
    await found("tree-a", "tree-b")
    for mark in ("tree-a", "tree-b"):
        master.service.cancel(MASTER, CancelInstructions(mark, 1, [0, 1]))
    for index in (0, 1):
        assert (await master.last(index)).fault.code == Cancelled.wire_code
    assert not trees("tree-a", "tree-b"), "its end is told when nothing of it is left"
