"""What a node's execution costs.

python benchmarks/execution.py [--only WORDS] [--json]
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import json
import os
import signal
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import potluck
import psutil
import trio
from potluck.client.processes import NodeProcess
from potluck.client.surroundings import Surroundings
from potluck.node.processes.page import Page
from potluck.node.processes.process import Origin, Process
from potluck.node.sandboxes.backends import available_sandboxes
from potluck.node.scheduling.catalogue import OURS, make
from potluck.node.scheduling.times import Times
from potluck.overlay.wire import values
from potluck.overlay.wire.control import TO_PROGRAM
from potluck.overlay.wire.processes import LINES_MAX
from potluck.overlay.wire.work import Inline
from potluck.overlay.wire.worker import TO_WORKER, LoadProgram, RunTask
from potluck.verbs.processes import Row, rows_of
from potluck.verbs.rendering import json_text

READY = 100_000
STEPS = 20_000
SWITCHES = 100
SUBMITTERS = 50
FUNCTIONS = 1_000
JOBS = 10
ROUNDS, ROUND_TRIPS = 15, 200
TRIES = 15
IDLE_S = 20.0
COMPUTES = """
import hashlib, threading
def burn():
    while True:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000)
def task():
    for _ in range(2):
        threading.Thread(target=burn).start()
    burn()
"""


@dataclass(eq=False)
class Item:
    key: int
    priority: int
    submitter: int
    function: int
    estimate_s: float | None


def _items(first: int, count: int) -> list[Item]:
    return [
        Item(key, key % 7 - 3, key % SUBMITTERS, key % FUNCTIONS, (key * 7919 % 10_007) / 100 if key % 2 else None)
        for key in range(first, first + count)
    ]


def scheduler_step(name: str) -> dict[str, float]:
    """One comes, the next is picked, its slice ends, the next is picked, and ends: five steps with 100 000 ready.

    Virtual time goes so fast that a feedback queue rises often.
    """
    policy = make(name)
    for item in _items(0, READY):
        policy.add(0.0, item)
    coming = _items(READY, STEPS)
    took_us, now_s = [], 0.0
    gc.collect()
    gc.disable()  # its pauses are not the scheduler's
    for item in coming:
        now_s += 0.01
        began_ns = time.perf_counter_ns()
        policy.add(now_s, item)
        first = policy.pick(now_s)
        policy.preempted(now_s, first, min(0.1, policy.slice_s(first)))
        second = policy.pick(now_s)
        policy.ended(now_s, second, 0.05)
        took_us.append((time.perf_counter_ns() - began_ns) / 5_000)
    gc.enable()
    took_us.sort()
    return {"median, us": statistics.median(took_us), "p99, us": took_us[-STEPS // 100], "most, us": took_us[-1]}


def process_table() -> dict[str, float]:
    """Every row of a hundred thousand, as a node says them to a program, and as the program shows them."""
    origins = [Origin(f"{job:016x}", "user", "0123456789ab", "", f"{job:016x}") for job in range(JOBS)]
    processes = [Process(n, Times(0.0), origins[n % JOBS], n) for n in range(1, READY + 1)]
    began_s = time.perf_counter()
    pages = []
    for first in range(0, READY, LINES_MAX):
        page = Page(5.0, 0.0)
        for process in processes[first : first + LINES_MAX]:
            page.add(process)
        pages.append(TO_PROGRAM.encode(page.said(1)))
    said_s = time.perf_counter() - began_s
    frames = TO_PROGRAM.frames()
    rows: list[Row] = []
    for frame in pages:
        frames.feed(frame)
        body = frames.next_body()
        assert body is not None
        rows += rows_of("ant", TO_PROGRAM.decode(body))  # type: ignore[arg-type]
    assert len(rows) == READY
    read_s = time.perf_counter() - began_s
    json_text(rows)
    return {"said, s": said_s, "said and read, s": read_s, "and as JSON, s": time.perf_counter() - began_s}


def context_switch() -> dict[str, float]:
    """One tree stopped, another continued: real sandboxes, each with threads that compute for as long as they may."""

    async def play() -> list[float]:
        sandbox = available_sandboxes("auto")[0]
        running, waiting = await sandbox.start(), await sandbox.start()
        try:
            for worker in (running, waiting):
                work = LoadProgram(1, "function", Inline(COMPUTES.encode()), "task", "task.py")
                asked = TO_WORKER.encode(work) + TO_WORKER.encode(RunTask(1, 1, values.encode([[], {}])))
                if not worker.send_now(asked):
                    await worker.flush()
            await waiting.stop()
            took_ms = []
            for _ in range(SWITCHES):
                await trio.sleep(0.02)
                began_s = time.perf_counter()
                await running.stop()
                await waiting.resume()
                took_ms.append((time.perf_counter() - began_s) * 1000)
                running, waiting = waiting, running
            return took_ms
        finally:
            await running.kill()
            await waiting.kill()

    return _in_ms(trio.run(play))


def _in_ms(took_ms: list[float]) -> dict[str, float]:
    took_ms = sorted(took_ms)
    return {"median, ms": statistics.median(took_ms), "p95, ms": took_ms[-len(took_ms) // 20], "most, ms": took_ms[-1]}


# What a program sees, on a node of its own


@contextmanager
def program(*options: str) -> Iterator[tuple[potluck.Executor, NodeProcess]]:
    with tempfile.TemporaryDirectory(prefix="potluck-benchmark-") as name:
        folder = Path(name)
        surroundings = Surroundings(folder / "data", folder / "potluck")
        environment = {key: value for key, value in os.environ.items() if not key.startswith("POTLUCK_")}
        environment |= {"POTLUCK_DATA_DIR": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder)}
        node = NodeProcess(["--private", *options], environment, folder / "log")
        node.start()
        try:
            node.await_ready(30.0)
            with potluck.Executor(surroundings=surroundings) as pool:
                pool.submit(abs, 1).result()
                yield pool, node
        finally:
            node.stop()


def round_trip() -> dict[str, float]:
    """Of a task that does nothing: the same rounds in either sandbox, one after the other."""
    ratios, medians_us = [], []
    with program("--sandbox=bare") as (bare, _), program("--sandbox=bubblewrap") as (sandboxed, _):
        for _ in range(ROUNDS):
            one, other = (statistics.median(_round_trips_us(pool)) for pool in (bare, sandboxed))
            ratios.append(other / one)
            medians_us.append(other)
    return {"bubblewrap, us": statistics.median(medians_us), "x bare": statistics.median(ratios)}


def _round_trips_us(pool: potluck.Executor) -> list[float]:
    took_us = []
    for _ in range(ROUND_TRIPS):
        began_ns = time.perf_counter_ns()
        pool.submit(abs, -1).result()
        took_us.append((time.perf_counter_ns() - began_ns) / 1000)
    return took_us


def first_task(*, spare: bool) -> dict[str, float]:
    """From the call until a job's first task runs. Without a spare: two jobs have just taken those there were."""
    took_ms = []
    with program("--slots=2", "--sandbox=bubblewrap") as (pool, _):
        for number in range(0, 3 * TRIES, 3):
            time.sleep(1.5)  # spares take the place of what was used
            burst_ms = [_begins_after_ms(pool, number + one) for one in range(1 if spare else 3)]
            took_ms.append(burst_ms[-1])
    return _in_ms(took_ms)


def _begins_after_ms(pool: potluck.Executor, job: int, **options: Any) -> float:
    """Each of these options opens a job. The clock is the machine's, for all processes alike."""
    task = potluck.options(timeout=1000 + job, **options)(time.monotonic)
    began_s = time.monotonic()
    return (pool.submit(task).result() - began_s) * 1000


def arrival() -> dict[str, float]:
    """From the call until what is more important runs, where a tree of threads has had the only slot."""
    with program("--slots=1", "--sandbox=bubblewrap", "--policy=priority") as (pool, _):
        low = pool.submit(potluck.options(priority="low")(computes))
        took_ms = []
        for number in range(TRIES):
            time.sleep(1.5)
            took_ms.append(_begins_after_ms(pool, number, priority="high"))
        potluck.cancel(low)
    return _in_ms(took_ms)


def killing() -> dict[str, float]:
    """A task with twenty grandchildren, in sessions of their own and deaf to signals, until none of it is left."""
    took_ms = []
    with program("--slots=1", "--sandbox=bubblewrap") as (pool, _):
        for _ in range(TRIES):
            future = pool.submit(multiplies)
            time.sleep(1.0)
            began_s = time.perf_counter()
            potluck.cancel(future)
            wait([future])
            took_ms.append((time.perf_counter() - began_s) * 1000)
    return _in_ms(took_ms)


def idle() -> dict[str, float]:
    """A node with two warm workers and nothing to do."""
    with program("--slots=2", "--sandbox=bubblewrap") as (_, node):
        time.sleep(5)
        root = psutil.Process(node.process.pid)
        family = [root, *root.children(recursive=True)]
        before_s = sum(sum(one.cpu_times()[:2]) for one in family)
        time.sleep(IDLE_S)
        used_s = sum(sum(one.cpu_times()[:2]) for one in family) - before_s
        memory_mb = sum(one.memory_full_info().pss for one in family) / 1e6
    return {"PSS, MB": memory_mb, "CPU, % of a core": 100 * used_s / IDLE_S}


def computes() -> None:
    """With and without the interpreter's lock, until it is ended."""
    threading.Thread(target=lambda: [hashlib.pbkdf2_hmac("sha256", b"x", b"y", 20_000) for _ in iter(int, 1)]).start()
    while True:
        pass


def multiplies() -> None:
    for number in range(1, signal.NSIG):
        if number not in (signal.SIGKILL, signal.SIGSTOP, 32, 33):
            signal.signal(number, signal.SIG_IGN)
    for _ in range(20):
        if not os.fork():
            os.setsid()
            if os.fork():
                os._exit(0)
            time.sleep(600)
    time.sleep(600)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--only", default="", metavar="WORDS", help="What has these words in its name.")
    as_json, only = (given := parser.parse_args()).json, given.only
    measures: dict[str, Callable[[], dict[str, float]]] = {
        f"a step of {name}, {READY} ready": lambda name=name: scheduler_step(name)  # type: ignore[misc]
        for name in OURS
    }
    measures[f"a table of {READY} processes"] = process_table
    measures |= {
        "a context switch": context_switch,
        "a round trip of nothing": round_trip,
        "a job's first task, with a spare": lambda: first_task(spare=True),
        "a job's first task, without": lambda: first_task(spare=False),
        "what is more important runs": arrival,
        "twenty that hide are gone": killing,
        "an idle node": idle,
    }
    figures = {}
    for what, measure in measures.items():
        if only not in what:
            continue
        figures[what] = {name: round(figure, 2) for name, figure in measure().items()}
        if not as_json:
            print(f"{what:40}", *(f"{name} {figure}" for name, figure in figures[what].items()), sep="  ")
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
