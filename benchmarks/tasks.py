"""How much a task costs: potluck beside the standard library's ProcessPoolExecutor, in one run, by ratio.

    python benchmarks/tasks.py [--rounds 5] [--json]

Two nodes on loopback with TLS and sandbox on. `other` forces the work onto the other node (the one we talk to lends no
CPU), `own` onto the one we talk to; two worker slots everywhere. Medians over the rounds; nothing is cached.
"""

from __future__ import annotations

import argparse
import compileall
import concurrent.futures
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from plain_tls import rate_mib_per_s

SLOTS = 2
ROUND_TRIPS = 500
ONE_BY_ONE = 10_000
MAPPED = 1_000_000
MAPPED_SINGLY = 20_000
"""ProcessPool's default is one call each."""
CHUNK_SIZES = (1000, 5000, 20_000)
"""The best of these is ProcessPool's best."""
PAYLOADS = 50
PAYLOAD_BYTES = 1 << 20
ARRAY_BYTES = 64 << 20
ARRAYS = 5
PI_TASKS, PI_TERMS = 64, 400_000


def nothing(x: int) -> int:
    return x


def same(data: bytes) -> bytes:
    return data


def size_of(array: object) -> int:
    return array.nbytes  # type: ignore[attr-defined]


def pi(terms: int) -> float:
    """By Leibniz: work that needs a processor and nothing else."""
    return 4 * sum((-1.0 if number & 1 else 1.0) / (2 * number + 1) for number in range(terms))


@contextmanager
def nodes(folder: Path, **slots: int) -> Iterator[dict[str, psutil.Process]]:
    """Running nodes by name, with the environment pointing at them."""
    (folder / "run").mkdir(mode=0o700)
    os.environ["POTLUCK_DATA_DIR"] = str(folder / "data")
    os.environ["XDG_RUNTIME_DIR"] = str(folder / "run")
    started = {}
    try:
        for name, count in slots.items():
            command = [sys.executable, "-m", "potluck", "up", "--json", f"--name={name}", f"--slots={count}"]
            process = subprocess.Popen(
                [*command, "--interface=127.0.0.1"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
            )
            started[name] = process
            assert process.stdout is not None
            json.loads(process.stdout.readline())
        _await_all(len(slots))
        yield {name: psutil.Process(process.pid) for name, process in started.items()}
    finally:
        for process in started.values():
            process.terminate()
        for process in started.values():
            process.communicate(timeout=10)


def _await_all(count: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        shown = subprocess.run([sys.executable, "-m", "potluck", "peers", "--json"], capture_output=True, check=True)
        alive = [row for row in json.loads(shown.stdout) if row["state"] == "alive"]
        if len(alive) == count and all(row["load"]["slots"] for row in alive if row["name"] == "worker"):
            return
        assert time.monotonic() < deadline, "the nodes do not find each other"


def round_trip_s(pool: concurrent.futures.Executor) -> tuple[float, float]:
    """p50 and p99 of one task at a time."""
    samples = []
    for number in range(ROUND_TRIPS):
        started = time.perf_counter()
        pool.submit(nothing, number).result()
        samples.append(time.perf_counter() - started)
    samples.sort()
    return samples[len(samples) // 2], samples[int(len(samples) * 0.99)]


def one_by_one_per_s(pool: concurrent.futures.Executor) -> float:
    started = time.perf_counter()
    futures = [pool.submit(nothing, number) for number in range(ONE_BY_ONE)]
    for number, future in enumerate(futures):
        assert future.result() == number
    return ONE_BY_ONE / (time.perf_counter() - started)


def mapped_per_s(pool: concurrent.futures.Executor, count: int, **options: int) -> float:
    started = time.perf_counter()
    assert sum(1 for _ in pool.map(nothing, range(count), **options)) == count
    return count / (time.perf_counter() - started)


def payloads_per_s(pool: concurrent.futures.Executor) -> float:
    """MiB there and back."""
    sent = [os.urandom(PAYLOAD_BYTES) for _ in range(PAYLOADS)]
    started = time.perf_counter()
    futures = [pool.submit(same, data) for data in sent]
    assert [future.result() for future in futures] == sent
    return PAYLOADS * PAYLOAD_BYTES / (1 << 20) / (time.perf_counter() - started)


def array_s(pool: concurrent.futures.Executor) -> float:
    import numpy

    array = numpy.ones(ARRAY_BYTES // 8)
    pool.submit(size_of, array[:1]).result()  # has NumPy imported there
    samples = []
    for _ in range(ARRAYS):
        started = time.perf_counter()
        assert pool.submit(size_of, array).result() == ARRAY_BYTES
        samples.append(time.perf_counter() - started)
    return statistics.median(samples)


def pi_s(pool: concurrent.futures.Executor) -> float:
    started = time.perf_counter()
    futures = [pool.submit(pi, PI_TERMS) for _ in range(PI_TASKS)]
    assert all(3.141 < future.result() < 3.142 for future in futures)
    return time.perf_counter() - started


def warm(pool: concurrent.futures.Executor) -> None:
    list(pool.map(nothing, range(1000)))


def measure(pool: concurrent.futures.Executor, *, sizes_chunks: bool) -> dict[str, float]:
    """`sizes_chunks`: a map without further settings puts calls together by itself."""
    warm(pool)
    p50, p99 = round_trip_s(pool)
    chunks = [1000] if sizes_chunks else CHUNK_SIZES
    array_took_s = array_s(pool)
    return {
        "round trip p50, µs": p50 * 1e6,
        "round trip p99, µs": p99 * 1e6,
        "one by one, tasks/s": one_by_one_per_s(pool),
        "map, default settings, tasks/s": mapped_per_s(pool, MAPPED if sizes_chunks else MAPPED_SINGLY),
        "map, chunks of 1000 (ProcessPool: best size), tasks/s": max(
            mapped_per_s(pool, MAPPED, chunksize=size) for size in chunks
        ),
        "50 × 1 MiB in and out, MiB/s": payloads_per_s(pool),
        "64 MiB array to a task, ms": 1e3 * array_took_s,
        "the same, MiB/s": (ARRAY_BYTES >> 20) / array_took_s,
        "64 tasks of pi, s": pi_s(pool),
    }


def compile_all() -> None:
    """What an installation has done: else every process would compile what it imports."""
    import potluck

    package = Path(potluck.__path__[0])
    for room in ("client", "discovery", "node", "overlay", "verbs"):
        compileall.compile_dir(package / room, quiet=1)


def cold_start_s(program: str) -> float:
    """From the start of Python to the first result, nodes and pools included; not until all of it has ended."""
    started = time.perf_counter()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        took_s = time.perf_counter() - started
    assert first == b"8\n" and process.returncode == 0
    return took_s


COLD_OURS = "import potluck\nwith potluck.Executor() as pool: print(pool.submit(pow, 2, 3).result(), flush=True)"
COLD_THEIRS = COLD_OURS.replace("import potluck", "import concurrent.futures as potluck").replace(
    "Executor()", f"ProcessPoolExecutor({SLOTS})"
)


def idle(process: psutil.Process, seconds: float) -> dict[str, float]:
    """Memory of a node and everything it has started; processor time while nobody asks anything."""
    time.sleep(3)  # used sandboxes are destroyed, spares take their place
    family = [process, *process.children(recursive=True)]
    before = sum(sum(one.cpu_times()[:2]) for one in family)
    time.sleep(seconds)
    after = sum(sum(one.cpu_times()[:2]) for one in family)
    return {
        "idle PSS, MB": sum(one.memory_full_info().pss for one in family) / 1e6,
        "idle CPU, % of a core": 100 * (after - before) / seconds,
    }


def run(rounds: int) -> dict[str, dict[str, list[float]]]:
    import potluck

    compile_all()
    results: dict[str, dict[str, list[float]]] = {}

    def note(who: str, figures: dict[str, float]) -> None:
        for what, value in figures.items():
            results.setdefault(what, {}).setdefault(who, []).append(value)

    def with_pool(who: str, make: Callable[[], concurrent.futures.Executor]) -> None:
        with make() as pool:
            note(who, measure(pool, sizes_chunks=who != "ProcessPool"))

    for number in range(rounds):
        note("ProcessPool", {"plain TLS from process to process, MiB/s": rate_mib_per_s()})
        with_pool("ProcessPool", lambda: concurrent.futures.ProcessPoolExecutor(SLOTS))
        for who, slots in (("other", {"asked": 0, "worker": SLOTS}), ("own", {"asked": SLOTS})):
            with tempfile.TemporaryDirectory() as folder, nodes(Path(folder), **slots) as running:
                with_pool(who, lambda: potluck.Executor(node="asked"))
                if who == "own" and number == 0:
                    note("own", idle(running["asked"], 10.0))
        with tempfile.TemporaryDirectory() as folder:
            os.environ["POTLUCK_DATA_DIR"] = folder
            note("own", {"cold start to first result, s": cold_start_s(COLD_OURS)})
            note("ProcessPool", {"cold start to first result, s": cold_start_s(COLD_THEIRS)})
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = run(options.rounds)
    medians = {what: {who: statistics.median(v) for who, v in row.items()} for what, row in results.items()}
    if options.json:
        print(json.dumps(medians))
        return
    print(
        f"| {options.rounds} rounds, medians | ProcessPool | other node | × | own node | × |\n|---|---|---|---|---|---|"
    )
    for what, row in medians.items():
        base = row.get("ProcessPool")
        cells = [f"{base:,.4g}" if base else "–"]
        for who in ("other", "own"):
            value = row.get(who)
            cells += [f"{value:,.4g}" if value else "–", f"{value / base:.2f}" if value and base else "–"]
        print(f"| {what} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
