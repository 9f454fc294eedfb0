"""What a map of a million tasks weighs: the most memory of its node and of its program, results consumed as they come.

python benchmarks/million.py [--tasks N] [--buffersize N]
"""

from __future__ import annotations

import argparse
import json
import threading
import time

import potluck
import psutil

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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1_000_000)
    parser.add_argument("--buffersize", type=int, help="inputs taken ahead; default: the executor's own")
    asked = parser.parse_args()
    with potluck.Executor() as pool, Peaks() as peaks:
        began_s = time.monotonic()
        results = pool.map(abs, range(asked.tasks), chunksize=1, buffersize=asked.buffersize)
        count = sum(1 for _ in results)
        elapsed_s = time.monotonic() - began_s
    print(json.dumps({"tasks": count, "seconds": round(elapsed_s, 1), **peaks.mib}, indent=2))


if __name__ == "__main__":
    main()
