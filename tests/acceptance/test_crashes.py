"""How soon everybody knows that a node has died: killed, or stopped and silent. Real processes on loopback."""

from __future__ import annotations

import os
import signal
import time
from itertools import cycle, islice
from pathlib import Path
from statistics import median

import pytest

from .harness import NodeProcess, Pool, pool, wait_until

pytestmark = pytest.mark.processes
NODES = 6
MEDIAN_S = 3.0
WORST_S = 7.0


def crash(running: Pool, victim: NodeProcess, number: signal.Signals) -> float:
    """Until the last of the others says that it has died."""
    others = [node for node in running.nodes.values() if node is not victim]
    began_s = time.monotonic()

    def times_s() -> list[list[float]]:
        return [[at_s for at_s in node.event_times("died", victim.name) if at_s > began_s] for node in others]

    os.kill(victim.process.pid, number)
    try:
        wait_until(lambda: all(times_s()), f"everybody knows that {victim.name} has died")
    finally:
        victim.kill()
    return (
        max(min(at_s for at_s in node.event_times("died", victim.name) if at_s > began_s) for node in others) - began_s
    )


def come_back(running: Pool, name: str) -> None:
    began_s = time.monotonic()
    running.up(name, "--slots=0").await_ready()
    back = running.nodes[name]
    others = [node for node in running.nodes.values() if node is not back]

    def joined(node: NodeProcess, other: NodeProcess) -> bool:
        return any(at_s > began_s for at_s in node.event_times("joined", other.name))

    def known() -> bool:
        """To all, and all to it: of whom it has never met, it would not say that he has died."""
        return all(joined(node, back) and joined(back, node) for node in others)

    wait_until(known, f"{name} is back")


def crashes(folder: Path, signals: list[signal.Signals]) -> list[float]:
    names = [f"n{number}" for number in range(1, NODES + 1)]
    with pool(folder) as running:
        running.up_together(*names, flags=["--slots=0"])
        taken_s = []
        for name, number in zip(cycle(names), signals, strict=False):
            taken_s.append(crash(running, running.nodes[name], number))
            come_back(running, name)
        return taken_s


def test_a_crash_is_known_to_all_in_seconds(tmp_path: Path) -> None:
    taken_s = crashes(tmp_path, [signal.SIGKILL, signal.SIGSTOP, signal.SIGKILL])
    assert median(taken_s) <= MEDIAN_S and max(taken_s) <= WORST_S, taken_s


@pytest.mark.nightly
@pytest.mark.timeout(900)
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
def test_thirty_crashes_are_known_to_all_in_seconds(tmp_path: Path, number: signal.Signals) -> None:
    taken_s = crashes(tmp_path, list(islice(cycle([number]), 30)))
    print(f"{number.name}: median {median(taken_s):.2f} s, worst {max(taken_s):.2f} s")
    assert median(taken_s) <= MEDIAN_S and max(taken_s) <= WORST_S, sorted(taken_s)
