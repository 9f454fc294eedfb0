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
from potluck.node.execution.tasks import Job, ProgramState, Task
from potluck.node.processes.process import Process
from potluck.node.processes.service import line_of
from potluck.node.scheduling.catalogue import OURS, make
from potluck.node.scheduling.times import Times
from potluck.overlay.wire.control import TO_PROGRAM
from potluck.overlay.wire.processes import LINES_MAX, Processes
from potluck.overlay.wire.work import Inline, Program

READY = 100_000
STEPS = 20_000
SWITCHES = 100
SUBMITTERS = 50
FUNCTIONS = 1_000


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
    """Every row of a hundred thousand, as a node says them to a program, and as the program reads them."""
    program = ProgramState(1, Program(b"p" * 32, "callable"), Inline(b""))
    job = Job(b"o" * 20, "0123456789abcdef", b"m" * 20, 1, 0, whose=b"o" * 20)
    tasks = [
        Task(n, job, program, n, 0, Inline(b""), 0, None, True, Process(n, Times(0.0))) for n in range(1, READY + 1)
    ]
    began_s = time.perf_counter()
    pages = [
        TO_PROGRAM.encode(Processes(1, lines=[line_of(task, 5.0) for task in tasks[first : first + LINES_MAX]]))
        for first in range(0, READY, LINES_MAX)
    ]
    said_s = time.perf_counter() - began_s
    frames = TO_PROGRAM.frames()
    rows = 0
    for page in pages:
        frames.feed(page)
        body = frames.next_body()
        assert body is not None
        rows += len(TO_PROGRAM.decode(body).lines)  # type: ignore[attr-defined]
    assert rows == READY
    return {"said, s": said_s, "said and read, s": time.perf_counter() - began_s}


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
