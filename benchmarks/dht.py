"""What a set and a get cost: potluck beside the stock `kademlia` package and, where it is installed, `hivemind`.

    python benchmarks/dht.py [--rounds 3] [--nodes 16 64] [--hivemind PYTHON] [--json]

Everything on loopback, nodes shared over ten processes. `--hivemind` names the interpreter of an environment that has
it. Systems take turns in every round; medians over the rounds. After the figures of the whole mesh three of the ten
processes are killed, with all their nodes, and every survivor goes on at once.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CROWDS = Path(__file__).parent / "dht_crowds"
PROGRAMS = {
    "potluck": CROWDS / "whole_nodes.py",
    "kademlia": CROWDS / "kademlia_stock.py",
    "hivemind": CROWDS / "hivemind_dht.py",
}
KEYS = 100
GETS = 200
RATED = 1000
AT_ONCE = 50
PROCESSES = 10
KILLED = 3
GETS_AFTER = 24
"""At once, each from a survivor of its own where there are so many; kademlia takes five seconds for every one."""
DEATHS_KNOWN_S = 12.0

Figures = dict[str, float]


class Process:
    """One crowd."""

    def __init__(self, interpreter: str, program: Path, folder: str) -> None:
        self._process = subprocess.Popen(
            [interpreter, str(program)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
            env={**os.environ, "TMPDIR": folder},
        )

    def tell(self, do: str, **more: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": do, **more}) + "\n")
        self._process.stdin.flush()

    def answer(self) -> object:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "a crowd has ended"
        return json.loads(line)

    def ask(self, do: str, **more: object) -> object:
        self.tell(do, **more)
        return self.answer()

    def kill(self) -> None:
        """With whatever it has started."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self.kill()


class Mesh:
    def __init__(self, processes: list[Process]) -> None:
        self._processes = processes

    def start(self, nodes: int) -> None:
        contact = None
        for number, process in enumerate(self._processes):
            share = len(range(number, nodes, len(self._processes)))
            addresses = process.ask("start", nodes=share, contact=contact)
            contact = contact or addresses[0]
        self._everyone("settled", total=nodes)

    def _everyone(self, do: str, **more: object) -> list:
        for process in self._processes:
            process.tell(do, **more)
        return [process.answer() for process in self._processes]

    def kill(self, count: int) -> None:
        """Processes, the last of them."""
        for _ in range(count):
            self._processes.pop().kill()

    def counts(self) -> Figures:
        answers = self._everyone("counts")
        return {what: sum(answer[what] for answer in answers) for what in ("requests", "bytes")}

    def one_by_one(self, do: str, keys: list[str]) -> dict:
        """Each process does a share, one process at a time."""
        count = len(self._processes)
        return _joined([process.ask(do, keys=keys[n::count], at_once=1) for n, process in enumerate(self._processes)])

    def at_once(self, do: str, keys: list[str]) -> dict:
        """All of them, in all processes."""
        count = len(self._processes)
        for n, process in enumerate(self._processes):
            process.tell(do, keys=keys[n::count], at_once=len(keys))
        return _joined([process.answer() for process in self._processes])

    def rate(self, keys: list[str]) -> float:
        """Gets per second of one process with fifty in flight."""
        answer = self._processes[0].ask("get", keys=keys, at_once=AT_ONCE)
        return len(answer["took_s"]) / answer["wall_s"]


def _joined(answers: list[dict]) -> dict:
    return {
        "took_s": [sample for answer in answers for sample in answer["took_s"]],
        "failed": sum(answer["failed"] for answer in answers),
    }


def percentiles(name: str, outcome: dict) -> Figures:
    ordered = sorted(outcome["took_s"]) or [float("nan")]
    return {
        f"{name} p50, ms": 1e3 * ordered[len(ordered) // 2],
        f"{name} p99, ms": 1e3 * ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)],
    }


@contextmanager
def running(system: str, interpreter: str) -> Iterator[Mesh]:
    processes: list[Process] = []
    with tempfile.TemporaryDirectory() as folder:  # a process that is killed leaves its nodes' files behind
        try:
            for _ in range(PROCESSES):
                processes.append(Process(interpreter, PROGRAMS[system], folder))
            yield Mesh(processes)
        finally:
            for process in processes:
                process.end()


def measure(mesh: Mesh, nodes: int) -> Figures:
    mesh.start(nodes)
    keys = [f"key {number}" for number in range(KEYS)]
    asked = keys * (GETS // KEYS)
    figures: Figures = {}
    for name, do, what in (("set", "set", keys), ("get", "get", asked)):
        before = mesh.counts()
        outcome = mesh.one_by_one(do, what)
        after = mesh.counts()
        figures |= percentiles(name, outcome)
        figures[f"requests per {name}"] = (after["requests"] - before["requests"]) / len(what)
        figures[f"bytes per {name}"] = (after["bytes"] - before["bytes"]) / len(what)
    figures[f"gets/s, {AT_ONCE} in flight"] = mesh.rate(keys * (RATED // KEYS))
    mesh.kill(KILLED)
    outcome = mesh.at_once("get", keys[:GETS_AFTER])
    figures |= percentiles("get at once after the kill", outcome)
    figures["gets at once after the kill that fail"] = outcome["failed"]
    time.sleep(DEATHS_KNOWN_S)
    outcome = mesh.at_once("get", keys)
    figures |= percentiles("get once deaths are known", outcome)
    figures["gets once deaths are known that fail"] = outcome["failed"]
    return figures


def run(rounds: int, sizes: list[int], hivemind: str | None) -> dict[int, dict[str, dict[str, list[float]]]]:
    """By number of nodes, figure and system."""
    interpreters = {"potluck": sys.executable, "kademlia": sys.executable} | (
        {"hivemind": hivemind} if hivemind else {}
    )
    results: dict[int, dict[str, dict[str, list[float]]]] = {}
    for _ in range(rounds):
        for nodes in sizes:
            for system, interpreter in interpreters.items():
                with running(system, interpreter) as mesh:
                    for what, value in measure(mesh, nodes).items():
                        row = results.setdefault(nodes, {}).setdefault(what, {})
                        row.setdefault(system, []).append(value)
    return results


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--nodes", type=int, nargs="+", default=[16, 64])
    parser.add_argument("--hivemind", metavar="PYTHON")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = run(options.rounds, options.nodes, options.hivemind)
    medians = {
        nodes: {what: {who: statistics.median(v) for who, v in row.items()} for what, row in table.items()}
        for nodes, table in results.items()
    }
    if options.json:
        print(json.dumps(medians))
        return
    for nodes, table in medians.items():
        systems = list(next(iter(table.values())))
        print(f"| {nodes} nodes, medians of {options.rounds} | {' | '.join(systems)} |")
        print("|---" * (len(systems) + 1) + "|")
        for what, row in table.items():
            print(f"| {what} | {' | '.join(f'{row[who]:,.4g}' for who in systems)} |")
        print()


if __name__ == "__main__":
    main()
