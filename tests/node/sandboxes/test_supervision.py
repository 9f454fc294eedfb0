"""Stopping and continuing whole trees of processes, whatever they do to get away."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from operator import gt
from pathlib import Path

import psutil
import pytest
import trio
from potluck.node.sandboxes.backends import available_sandboxes
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox, BubblewrapWorker
from potluck.node.sandboxes.cgroups import Hierarchy
from potluck.overlay.ports import Sandbox
from potluck.overlay.wire.worker import RunTask

from ...kin import children
from .sandbox_suite import Talk, call, function
from .test_sandboxes import bubblewrap_or_skip, marked, run, until_marked

# Threads, children in sessions of their own without a parent, and one that forks all the time.
RESTLESS = """
import os, subprocess, sys, threading

SPIN = "import os, threading\\nfor _ in range(2): threading.Thread(target=lambda: [None for _ in iter(int, 1)]).start()"
FORKING = "import os, signal\\nsignal.signal(signal.SIGCHLD, signal.SIG_IGN)\\nwhile os.fork(): pass"

def task(mark, count, leaves):
    for number in range(count):
        if os.fork() == 0:
            if leaves:
                os.setsid()
            subprocess.Popen([sys.executable, "-c", FORKING if not number else SPIN, mark])
            if leaves:
                os._exit(0)
            os.wait()
"""


def cpu_s(processes: list[psutil.Process]) -> list[float]:
    return [sum(process.cpu_times()[:2]) for process in processes]


def spinning(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that last: the one that forks is another process every moment."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if "Thread" in " ".join(process.cmdline()):
                found.append(process)
    return found


def stands_still(process: psutil.Process) -> bool:
    """Every thread of it: one that waits for a processor when it is stopped, stops once it has one."""
    threads = Path(f"/proc/{process.pid}/task").glob("*/stat")
    return {thread.read_text().rpartition(")")[2].split()[0] for thread in threads} == {"T"}


@pytest.mark.parametrize(("make", "leaves"), [(bubblewrap_or_skip, True), (BareSandbox, False)])
def test_nothing_of_a_stopped_tree_runs_and_all_of_it_goes_on(make: Callable[[], Sandbox], leaves: bool) -> None:
    mark = f"potluck-test-{os.getpid()}-restless-{leaves}"

    async def main() -> None:
        with trio.fail_after(60):
            process = await make().start()
            try:
                talk = Talk(process)
                await talk.give(function("task", RESTLESS), RunTask(1, 1, call(mark, 4, leaves)))
                while len(spinning(marked(mark))) < 3:  # noqa: ASYNC110 (the process table tells nobody)
                    await trio.sleep(0.01)
                await until_marked(mark, 4)(talk)
                for _ in range(3):
                    await process.stop()
                    tree = marked(mark)
                    while not all(map(stands_still, tree)):  # noqa: ASYNC110 (the process table tells nobody)
                        await trio.sleep(0.01)
                    before = cpu_s(tree)
                    assert len(tree) >= 4
                    await trio.sleep(0.1)
                    assert cpu_s(tree) == before
                    lasting, forking = spinning(tree), set(tree).difference(spinning(tree))
                    before = cpu_s(lasting)
                    assert len(lasting) == 3
                    await process.resume()
                    while not all(map(gt, cpu_s(lasting), before)):  # noqa: ASYNC110 (as `ps` tells)
                        await trio.sleep(0.01)
                    while not set(marked(mark)).difference(lasting, forking):  # noqa: ASYNC110 (it has forked)
                        await trio.sleep(0.01)
            finally:
                await process.kill()

    trio.run(main)
    assert not marked(mark)


def test_a_python_that_was_started_by_a_roundabout_way_is_found_inside(monkeypatch: pytest.MonkeyPatch) -> None:
    bubblewrap_or_skip()
    program = Path(sys.executable)
    monkeypatch.setattr(sys, "executable", f"{program.parent}/../../{program.parent.parent.name}/bin/{program.name}")
    assert run(bubblewrap_or_skip(), "def task(): return 1") == 1


def test_the_supervisor_cannot_be_reached_from_inside() -> None:
    source = """
import os, signal

def task():
    reached = []
    for number in (signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        os.kill(1, number)
    for name in ("mem", "environ", "maps", "root/", *(f"fd/{number}" for number in range(20))):
        try:
            os.close(os.open("/proc/1/" + name, os.O_RDONLY))
            reached.append(name)
        except OSError:
            pass
    return reached
"""

    async def lives(talk: Talk) -> None:
        await talk.process.stop()
        await talk.process.resume()
        await talk.give(RunTask(2, 1, call()))
        assert await talk.value() == []

    assert run(bubblewrap_or_skip(), source, after=lives) == []


def test_the_supervisor_shares_no_turns_with_those_whom_it_stops() -> None:
    """Neither by session nor by control group: threads that compute would keep it waiting for theirs."""
    sandbox = available_sandboxes("auto")[0]
    if sandbox.backend != "bubblewrap":
        pytest.skip("no bubblewrap here")

    async def lives(talk: Talk) -> None:
        worker = talk.process
        assert isinstance(worker, BubblewrapWorker)
        supervisor = psutil.Process(worker._first_pid)
        (child,) = children(supervisor.pid)
        assert os.getsid(child.pid) != os.getsid(supervisor.pid)
        if worker._group is not None:
            assert child.pid in worker._group.members()
            shares = [line for line in Path(f"/proc/{supervisor.pid}/cgroup").read_text().split() if ":cpu:" in line]
            assert not any(line.rpartition("/")[2].startswith("potluck-") for line in shares), shares

    assert run(sandbox, "def task(): return 1", after=lives) == 1


@pytest.mark.parametrize("grouped", [False, True])
def test_what_begins_to_be_killed_runs_nothing_more_and_what_is_ours_ends_last(grouped: bool) -> None:
    bubblewrap_or_skip()
    groups = Hierarchy.find() if grouped else None
    if grouped and groups is None:
        pytest.skip("no control groups may be made here")
    sandbox = BubblewrapSandbox.find(groups=groups)
    mark = f"potluck-test-{os.getpid()}-begun-{grouped}"
    source = """
import subprocess, sys

def task(mark, count):
    for _ in range(count):
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)", mark], start_new_session=True)
"""

    async def begin(talk: Talk) -> None:
        await until_marked(mark, 3)(talk)
        worker = talk.process
        assert isinstance(worker, BubblewrapWorker)
        supervisor = psutil.Process(worker._first_pid)
        worker.begin_to_kill()
        while marked(mark):  # noqa: ASYNC110 (the process table tells nobody)
            await trio.sleep(0.01)
        if grouped:
            assert supervisor.status() == psutil.STATUS_STOPPED
        await worker.kill()
        assert not supervisor.is_running()
        worker.begin_to_kill()

    run(sandbox, source, mark, 3, after=begin)
