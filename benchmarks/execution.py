"""What a node's execution costs.

python benchmarks/execution.py [--json]
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import trio
from potluck.node.execution.backends import available_sandboxes
from potluck.node.processes.page import Page
from potluck.node.processes.process import Origin, Process
from potluck.node.scheduling.catalogue import OURS, make
from potluck.node.scheduling.times import Times
from potluck.overlay.wire.control import TO_PROGRAM
from potluck.overlay.wire.processes import LINES_MAX
from potluck.verbs.processes import rows_of

READY = 100_000
STEPS = 20_000
SWITCHES = 100
SUBMITTERS = 50
FUNCTIONS = 1_000
JOBS = 10


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
    rows: list[dict[str, object]] = []
    for frame in pages:
        frames.feed(frame)
        body = frames.next_body()
        assert body is not None
        rows += rows_of("ant", TO_PROGRAM.decode(body))  # type: ignore[arg-type]
    assert len(rows) == READY
    read_s = time.perf_counter() - began_s
    json.dumps(rows)
    return {"said, s": said_s, "said and read, s": read_s, "and as JSON, s": time.perf_counter() - began_s}


def context_switch() -> dict[str, float]:
    """One tree stopped, another continued: real sandboxes with nothing to do."""

    async def play() -> list[float]:
        sandbox = available_sandboxes("auto")[0]
        running, waiting = await sandbox.start(), await sandbox.start()
        try:
            await waiting.stop()
            took_ms = []
            for _ in range(SWITCHES):
                began_s = time.perf_counter()
                await running.stop()
                await waiting.resume()
                took_ms.append((time.perf_counter() - began_s) * 1000)
                running, waiting = waiting, running
            return took_ms
        finally:
            await running.kill()
            await waiting.kill()

    took_ms = sorted(trio.run(play))
    return {"median, ms": statistics.median(took_ms), "p95, ms": took_ms[-SWITCHES // 20], "most, ms": took_ms[-1]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    measures: dict[str, Callable[[], dict[str, float]]] = {
        f"a step of {name}, {READY} ready": lambda name=name: scheduler_step(name)  # type: ignore[misc]
        for name in OURS
    }
    measures[f"a table of {READY} processes"] = process_table
    measures["a context switch"] = context_switch
    figures = {}
    for what, measure in measures.items():
        figures[what] = {name: round(figure, 2) for name, figure in measure().items()}
        if not as_json:
            print(f"{what:40}", *(f"{name} {figure}" for name, figure in figures[what].items()), sep="  ")
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
