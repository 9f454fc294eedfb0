"""Many mixed tasks on one real node while somebody suspends, resumes and kills them and their processes at random: in
the end nothing is left of them, neither in the node's tables nor on the machine."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import Future, wait
from pathlib import Path
from typing import Any

import potluck
import psutil
import pytest
from potluck.client.connection import Connection
from potluck.client.dialling import dial, greet
from potluck.client.executor import Executor
from potluck.client.surroundings import Surroundings
from potluck.overlay.wire.processes import ActOnProcesses, AskProcesses, ProcessLine
from potluck.verbs.asking import ask, talking

from ..kin import children, descendants
from .harness import Pool, wait_until
from .workload import MIX

pytestmark = pytest.mark.processes

SLOTS = 3
TASKS_A_CRASH = 10
CRASHES_APART_S = 1.0
"""Less, and the node would rightly say that processes cannot live on this machine."""
TASKS_A_KILL = 10
_BECOME_SUBREAPER = 36


class Meddler:
    """Suspends, resumes and kills whatever there is, one thing after the other, until it is told to stop."""

    def __init__(self, connection: Connection, node: psutil.Process, seed: int, futures: list[Future[Any]]) -> None:
        self._connection = connection
        self._node = node
        self._draw = random.Random(seed)
        self._futures = futures
        self._over = threading.Event()
        self.did: Counter[str] = Counter()
        self._crashed_s = 0.0
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Meddler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def lines(self) -> list[ProcessLine]:
        return list(ask(self._connection, AskProcesses).lines)

    def resume_all(self) -> None:
        if numbers := [line.number for line in self.lines() if line.state == "SUSPENDED"]:
            ask(self._connection, ActOnProcesses, "resume", numbers)

    def _run(self) -> None:
        while not self._over.wait(self._draw.expovariate(15)):
            ended = sum(future.done() for future in list(self._futures))
            rested = time.monotonic() - self._crashed_s >= CRASHES_APART_S
            if rested and ended >= TASKS_A_CRASH * (1 + self.did["crash"]):
                self._crash()
            may_kill = TASKS_A_KILL * self.did["kill"] < ended
            act = self._draw.choices(["suspend", "resume", "kill"], [4, 8, may_kill])[0]
            if lines := self.lines():
                number = self._draw.choice(lines[:20]).number
                self.did[act] += len(ask(self._connection, ActOnProcesses, act, [number]).numbers)

    def _crash(self) -> None:
        """Of a process somewhere below the node."""
        below = descendants(self._node.pid)
        if below:
            self._crashed_s = time.monotonic()
            with contextlib.suppress(psutil.NoSuchProcess):
                self._draw.choice(below).kill()
                self.did["crash"] += 1


@contextlib.contextmanager
def whose_orphans_are_ours() -> Iterator[None]:
    """What outlives its parents below here becomes a child of this process, and cannot hide."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(_BECOME_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield
    finally:
        assert libc.prctl(_BECOME_SUBREAPER, 0, 0, 0, 0) == 0


def groups(node: int) -> list[Path]:
    return [path for path in Path("/sys/fs/cgroup").glob(f"**/potluck-{node}-*") if path.is_dir()]


def outcome(future: Future[Any]) -> str:
    error = future.exception()
    return "done" if error is None else type(error).__name__


def play(nodes: Pool, tasks: int, seed: int, patience_s: float) -> tuple[Counter[str], Counter[str]]:
    """What became of the tasks, and what was done to them."""
    draw = random.Random(seed)
    surroundings = Surroundings(nodes.data_dir, Path(nodes.environment["XDG_RUNTIME_DIR"]) / "potluck")
    with contextlib.ExitStack() as open_:
        pools = [Executor(surroundings=surroundings) for _ in MIX]
        for of in pools:
            open_.callback(of.shutdown, wait=False, cancel_futures=True)
        kinds = [(function, options, of) for (_, function, options), of in zip(MIX, pools, strict=True)]
        connection = open_.enter_context(talking(greet(dial(surroundings, "w1"))))
        node = psutil.Process(nodes.nodes["w1"].process.pid)
        futures: list[Future[Any]] = []
        with Meddler(connection, node, seed, futures) as meddler:
            chosen = draw.choices(kinds, [weight for weight, _, _ in MIX], k=tasks)
            futures += [
                of.submit(potluck.options(**options)(function) if options else function, number)
                for number, (function, options, of) in enumerate(chosen)
            ]
            until_s = time.monotonic() + patience_s
            while len(wait(futures, timeout=0.2).done) < 0.9 * tasks:
                assert time.monotonic() < until_s, unfinished(futures, chosen, meddler)
        while wait(futures, timeout=0.2).not_done:
            assert time.monotonic() < until_s, unfinished(futures, chosen, meddler)
            meddler.resume_all()
        for of in pools:
            of.shutdown()  # or whoever is still connected when the node ends begins another
        ends = Counter(map(outcome, futures))
        assert meddler.lines() == [], "every process has ended"
    return ends, meddler.did


def unfinished(futures: list[Future[Any]], chosen: list[Any], meddler: Meddler) -> str:
    left = [function.__name__ for (function, _, _), future in zip(chosen, futures, strict=True) if not future.done()]
    return f"{Counter(left)} are left, and here are {meddler.lines()}; meddled: {dict(meddler.did)}"


def strays(before: set[int]) -> list[str]:
    """What is left of the node below this process, which has adopted it; what has ended is let go."""
    left = []
    for one in descendants(os.getpid()):
        with contextlib.suppress(psutil.NoSuchProcess, ChildProcessError):
            if one.pid not in before and one.status() == psutil.STATUS_ZOMBIE:
                os.waitpid(one.pid, os.WNOHANG)
            elif one.pid not in before:
                left.append(" ".join(one.cmdline()))
    return left


def check_nothing_is_left(nodes: Pool, before: set[int]) -> None:
    node = nodes.nodes["w1"]
    load = nodes.call("status", "--json", node="w1").value["load"]
    assert (load["busy"], load["queued"]) == (0, 0)
    pid = node.process.pid
    spares = SLOTS
    wait_until(lambda: len(children(pid)) <= spares, "only spare sandboxes are left")
    wait_until(lambda: len({group.name for group in groups(pid)}) <= spares, "and their control groups")
    node.interrupt()
    assert node.process.wait(30) == 0
    with contextlib.suppress(AssertionError):  # told below, with what is left
        wait_until(lambda: not strays(before), "no stray process")
    assert strays(before) == []
    assert groups(pid) == []
    assert str(nodes.folder) not in Path("/proc/self/mountinfo").read_text()
    assert list((nodes.folder / "scratch").iterdir()) == []


@pytest.mark.parametrize(
    ("tasks", "patience_s"),
    [pytest.param(40, 90.0, id="sample"), pytest.param(2000, 1500.0, id="full", marks=pytest.mark.nightly)],
)
def test_nothing_is_left_of_many_tasks_that_were_killed_and_suspended(
    nodes: Pool, tasks: int, patience_s: float
) -> None:
    before = {one.pid for one in descendants(os.getpid())}
    scratch = nodes.folder / "scratch"
    scratch.mkdir()
    with whose_orphans_are_ours():
        nodes.up("w1", f"--slots={SLOTS}", TMPDIR=str(scratch)).await_ready()
        ends, did = play(nodes, tasks, tasks, patience_s)
        check_nothing_is_left(nodes, before)
    print(f"{tasks} tasks: {dict(ends)}; meddled: {dict(did)}")
    assert sum(ends.values()) == tasks
    assert ends["done"] > tasks / 2 and ends["ValueError"]
