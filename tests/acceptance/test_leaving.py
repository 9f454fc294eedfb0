"""Busy nodes that leave: nothing is lost, and what may run only once does."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .harness import PATIENCE_S, Answered, Pool, wait_until

PROGRAM = """
import potluck

def counted(n):
    import time
    potluck.memory.increment(f"runs {n}")
    while not potluck.memory.get("go"):
        time.sleep(0.1)
    return n

if __name__ == "__main__":
    with potluck.Executor() as pool:
        call = potluck.options(at_most_once=AT_MOST_ONCE)(counted)
        futures = [pool.submit(call, n) for n in range(4)]
        print([future.result() for future in futures])
        print([potluck.memory[f"runs {n}"] for n in range(4)])
"""
"""Its tasks end when they are told to."""


class Busy:
    """Two nodes with one slot each that both run a task of a program at `stays`."""

    def __init__(self, nodes: Pool) -> None:
        self.nodes = nodes
        self.answers: list[Answered] = []

    def go(self) -> None:
        assert self.nodes.call("mem", "set", "go", "1", node="stays").code == 0

    def down(self, name: str) -> subprocess.Popen[str]:
        """Has begun to drain."""
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "potluck", "down", name, "--drain"],
            env=self.nodes.environment,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stdout.readline() == f"{name} finishes 1 running task, for 300 s at most\n"
        return process

    @property
    def results(self) -> str:
        return self.answers[0].out.splitlines()[0] if self.answers[0].out else self.answers[0].err

    @property
    def runs(self) -> list[int]:
        return [int(count) for count in self.answers[0].out.splitlines()[1].strip("[]").split(",")]


@contextmanager
def busy(nodes: Pool, *, at_most_once: bool = False) -> Iterator[Busy]:
    slots = {"goes": 1, "stays": 1, "keeps": 0}  # the last for a majority of those who count the runs
    for node in [nodes.up(name, f"--slots={count}") for name, count in slots.items()]:
        node.await_ready()
    nodes.await_members(*slots)
    here = Busy(nodes)
    source = PROGRAM.replace("AT_MOST_ONCE", str(at_most_once))
    running = threading.Thread(target=lambda: here.answers.append(nodes.script(source, "stays")))
    running.start()
    try:

        def begun() -> bool:
            return nodes.call("mem", "get", "runs 1", node="stays").code == 0

        wait_until(begun, "both nodes run something")
        yield here
    finally:
        here.go()
        running.join(90)


@pytest.mark.parametrize("at_most_once", [False, True])
def test_a_node_that_drains_finishes_what_runs_and_nothing_runs_twice(nodes: Pool, at_most_once: bool) -> None:
    with busy(nodes, at_most_once=at_most_once) as here:
        leaving = here.down("goes")
        here.go()
        said, _ = leaving.communicate(timeout=PATIENCE_S)
        assert nodes.nodes["goes"].process.wait(10) == 0
    assert said.splitlines()[-2:] == ["goes: 1 running task finished here", "goes has left"]
    assert here.results == "[0, 1, 2, 3]"
    assert here.runs == [1, 1, 1, 1]


def test_what_ends_otherwise_while_its_node_drains_is_not_told_as_finished(nodes: Pool) -> None:
    """Killed here; moved, or dropped because its master is gone, it would be the same."""
    with busy(nodes) as here:
        leaving = here.down("goes")
        (process,) = nodes.call("ps", "--json", node="goes").value
        assert nodes.call("kill", process["pid"], node="stays").code == 0
        said, _ = leaving.communicate(timeout=PATIENCE_S)
    assert said.splitlines()[-2:] == [
        "goes: 1 running task ended here: cancelled, moved, or waited for by nobody any more",
        "goes has left",
    ]


def test_a_node_that_leaves_at_once_has_what_runs_placed_elsewhere(nodes: Pool) -> None:
    with busy(nodes) as here:
        said = nodes.call("down", "goes").out.splitlines()
        assert nodes.nodes["goes"].process.wait(10) == 0
    assert said[-2:] == ["goes: 1 running task ended here, to be run elsewhere", "goes has left"]
    assert here.results == "[0, 1, 2, 3]"
    assert sorted(here.runs) == [1, 1, 1, 2], "only what ran there was begun twice"


def test_what_may_run_only_once_is_lost_rather_than_begun_again(nodes: Pool) -> None:
    with busy(nodes, at_most_once=True) as here:
        (left,) = nodes.call("down", "goes", "--drain", "--within", "0.2", "--json").value["left"]
        assert nodes.nodes["goes"].process.wait(10) == 0
    assert (left["finished"], left["given_up"], left["lost"]) == (0, 0, 1)
    assert "WorkerLost: the node leaves; it may have run, and is not to be run twice" in here.results


def test_a_node_drains_until_its_own_programs_have_their_results(nodes: Pool) -> None:
    """Its last tasks run elsewhere."""
    with busy(nodes) as here:
        leaving = here.down("stays")
        here.go()
        leaving.communicate(timeout=PATIENCE_S)
        assert nodes.nodes["stays"].process.wait(10) == 0
        nodes.up("stays").await_ready()
    assert here.results == "[0, 1, 2, 3]"
