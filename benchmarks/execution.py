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

from potluck.node.scheduling.catalogue import OURS, make

READY = 100_000
STEPS = 20_000
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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    as_json = parser.parse_args().json
    measures: dict[str, Callable[[], dict[str, float]]] = {
        f"a step of {name}, {READY} ready": lambda name=name: scheduler_step(name)  # type: ignore[misc]
        for name in OURS
    }
    figures = {}
    for what, measure in measures.items():
        figures[what] = {name: round(figure, 2) for name, figure in measure().items()}
        if not as_json:
            print(f"{what:40}", *(f"{name} {figure}" for name, figure in figures[what].items()), sep="  ")
    if as_json:
        print(json.dumps(figures))


if __name__ == "__main__":
    main()
