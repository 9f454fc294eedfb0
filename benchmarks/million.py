"""What a map of a million tasks weighs: the most memory of its node and of its program, results consumed as they come.

python benchmarks/million.py [--tasks N] [--buffersize N] [--waiting]

With `--waiting` all of them are at a node at once that lends no CPU, which no program of ours does: of 16 384 the rest
waits in the program. So it is after a master's death, when the next one takes a lasting job over.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import potluck
import psutil
from potluck.client import window
from tasks import nodes, nothing

LOOK_EVERY_S = 0.25


class Peaks:
    """The largest resident memory seen of this process and of each that it has started."""

    def __init__(self) -> None:
        self.mib: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> Peaks:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        own = psutil.Process()
        while not self._over.wait(LOOK_EVERY_S):
            for process in (own, *own.children()):
                try:
                    mib = process.memory_info().rss / (1 << 20)
                except psutil.NoSuchProcess:
                    continue
                who = "program, MiB" if process == own else "node, MiB"
                self.mib[who] = max(mib, self.mib.get(who, 0.0))


def waiting(tasks: int) -> dict[str, float]:
    """Of the node: with nothing to do, at most, and once everything waits."""
    window.WINDOW_TASKS, window.WINDOW_BYTES = tasks + 1, 1 << 40
    with tempfile.TemporaryDirectory() as folder, nodes(Path(folder), asked=0) as running, Peaks() as peaks:
        idle = running["asked"].memory_info().rss / (1 << 20)
        pool = potluck.Executor(node="asked")
        for number in range(tasks):
            pool.submit(nothing, number)
        while _submitted() < tasks:
            time.sleep(LOOK_EVERY_S)
        all_wait = running["asked"].memory_info().rss / (1 << 20)
        pool.abandon()
    return {"node idle, MiB": idle, "node, MiB": peaks.mib["node, MiB"], "node with all waiting, MiB": all_wait}


def _submitted() -> int:
    """As far as the node knows."""
    said = subprocess.run([sys.executable, "-m", "potluck", "jobs", "--json"], capture_output=True, check=True)
    return sum(job["tasks_total"] for job in json.loads(said.stdout))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--buffersize", type=int, help="inputs taken ahead; default: the executor's own")
    parser.add_argument("--waiting", action="store_true")
    asked = parser.parse_args()
    if asked.waiting:
        print(json.dumps({"tasks": asked.tasks, **waiting(asked.tasks)}, indent=2))
        return
    with potluck.Executor() as pool, Peaks() as peaks:
        began_s = time.monotonic()
        results = pool.map(abs, range(asked.tasks), chunksize=1, buffersize=asked.buffersize)
        count = sum(1 for _ in results)
        elapsed_s = time.monotonic() - began_s
    print(json.dumps({"tasks": count, "seconds": round(elapsed_s, 1), **peaks.mib}, indent=2))


if __name__ == "__main__":
    main()
