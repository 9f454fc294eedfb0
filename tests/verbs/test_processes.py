"""Processes of all nodes, seen and acted on from any."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from potluck.cli import main

from .mesh import Mesh, mesh

PATIENCE_S = 40.0
CPU_S, MEMORY_BYTES = 0.5, 64 << 20
WORKS = f"""
import os, time
if not os.fork():
    held = bytes({MEMORY_BYTES}).replace(b"\\0", b"x")
    while time.process_time() < {CPU_S}: pass
while True: time.sleep(0.01)
"""
"""In a child of its own, as whoever counts the first process alone would not see."""

LEAVES = 2
TREE = f"""
import potluck, time

def leaf(number):
    time.sleep(600)

def branch(number):
    with potluck.Executor() as pool:
        return list(pool.map(leaf, range({LEAVES}), chunksize=1))

if __name__ == "__main__":
    with potluck.Executor() as pool:
        print(list(pool.map(branch, range(2), chunksize=1)))
"""


def rows(made: Mesh, node: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    until_s = time.monotonic() + PATIENCE_S
    while not wanted(told := made.json("ps", "--all-nodes", "--node", node)):
        assert time.monotonic() < until_s, told
    return told


def in_state(state: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda told: [row["state"] for row in told] == [state]


def has_worked(told: list[dict[str, Any]]) -> bool:
    (row,) = told
    most_s = 5 * CPU_S  # the rest of it is asleep
    return CPU_S * 0.9 <= row["cpu_s"] <= most_s and (row["memory_most"] or 0) >= MEMORY_BYTES


@pytest.mark.processes
def test_a_process_is_suspended_resumed_and_killed_from_another_node(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee"]) as made, ThreadPoolExecutor() as at_once:
        job = at_once.submit(made.type, "run", "-c", WORKS, "--on", "bee", "--type", "ai_inference", "--node", "ant")
        (row,) = rows(made, "ant", in_state("RUNNING"))
        assert row["pid"] == f"bee/{row['pid'].rpartition('/')[2]}"
        assert (row["type"], row["priority"], row["parent"]) == ("ai_inference", 0, None)
        assert row["task"] == f"{row['job']}/0"
        assert row["group"] == row["job"]
        pid = row["pid"]
        assert made.json("ps", "--node", "ant") == []
        (row,) = rows(made, "ant", has_worked)
        cut_off = made.json("status", "--node", "bee")["sandbox"]["guarantees"]["network"]
        assert row["network_bytes"] == (0 if cut_off else None)
        assert row["created_s"] > 1.7e9, "by everybody's clock"
        assert made.json("suspend", pid, "--node", "ant") == {"acted": [pid]}
        rows(made, "bee", in_state("SUSPENDED"))
        again = made.type("suspend", pid, "--node", "ant")
        assert (again.code, again.err) == (1, f"potluck: process {pid} is SUSPENDED: there is nothing to suspend\n")
        assert made.json("resume", pid, "--group", "--node", "ant") == {"acted": [pid]}
        rows(made, "ant", in_state("RUNNING"))
        shown = made.type("tree", "--node", "ant").out
        assert re.search(rf"^job \S+\n  {pid}  🧠  RUNNING", shown), shown
        assert made.type("ps", "--all-nodes", "--no-emoji", "--node", "ant").out.isascii()
        assert made.json("kill", pid, "--tree", "--node", "ant") == {"acted": [pid]}
        said = job.result()
        assert (said.code, said.err.splitlines()[-1]) == (1, "potluck: Cancelled: its process was killed")
        rows(made, "ant", lambda told: told == [])
        assert made.type("kill", pid, "--node", "ant").err == f"potluck: no process {pid} to kill\n"
        (past,) = made.json("ps", "--all-nodes", "--ended", "--node", "ant")
        assert (past["pid"], past["state"], past["ended"]) == (pid, "TERMINATED", "Cancelled")
        assert has_worked([past])
        assert past["turnaround_s"] > past["ran_s"]


def states(told: list[dict[str, Any]]) -> dict[str, str]:
    return {row["pid"]: row["state"] for row in told}


def is_grown(told: list[dict[str, Any]]) -> bool:
    """A leaf on every node runs, the last one is ready, and all above them wait."""
    counted = sorted(states(told).values())
    return counted == ["READY"] * (2 * LEAVES - 3) + ["RUNNING"] * 3 + ["WAITING"] * 3


@pytest.mark.processes
def test_a_tree_of_sub_tasks_on_three_nodes_is_acted_on_from_one(tmp_path: Path) -> None:
    script = tmp_path / "tree.py"
    script.write_text(TREE)
    with mesh(tmp_path, ["ant", "bee", "cow"]) as made, ThreadPoolExecutor() as at_once:
        job = at_once.submit(made.type, "run", str(script), "--node", "ant")
        told = rows(made, "cow", is_grown)
        assert len({row["pid"].partition("/")[0] for row in told}) == 3
        (root,) = (row["pid"] for row in told if row["parent"] is None)
        branch = next(row["pid"] for row in told if row["parent"] == root)
        below = {row["pid"] for row in told if row["parent"] == branch}
        assert len(below) == LEAVES
        assert {row["group"] for row in told} == {row["job"] for row in told if row["parent"] is None}
        acted = made.json("suspend", branch, "--tree", "--node", "cow")["acted"]
        assert (acted[0], set(acted)) == (branch, {branch, *below}), "the parent first"
        still = states(made.json("ps", "--all-nodes", "--node", "bee"))
        assert {pid for pid, state in still.items() if state == "SUSPENDED"} == {branch, *below}
        assert set(made.json("suspend", root, "--group", "--node", "bee")["acted"]) == set(still) - {branch, *below}
        assert set(made.json("resume", root, "--group", "--node", "cow")["acted"]) == set(still)
        rows(made, "ant", is_grown)
        killed = made.json("kill", root, "--tree", "--node", "cow")["acted"]
        assert killed[0] == root, "what it has submitted may be over with it before it is told so"
        assert job.result().code == 1
        rows(made, "ant", lambda told: told == [])


@pytest.mark.parametrize(
    "arguments", [["kill", "7"], ["kill", "bee/x"], ["suspend", "bee/"], ["resume", "bee/1", "--tree", "--group"]]
)
def test_what_is_no_process_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert re.fullmatch(r"potluck: .+\n", capsys.readouterr().err)
