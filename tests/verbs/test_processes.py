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
SPIN = "import time\nwhile True: time.sleep(0.01)"


def rows(made: Mesh, node: str, wanted: Callable[[list[dict[str, Any]]], bool]) -> list[dict[str, Any]]:
    until_s = time.monotonic() + PATIENCE_S
    while not wanted(told := made.json("ps", "--all-nodes", "--node", node)):
        assert time.monotonic() < until_s, told
    return told


def in_state(state: str) -> Callable[[list[dict[str, Any]]], bool]:
    return lambda told: [row["state"] for row in told] == [state]


@pytest.mark.processes
def test_a_process_is_suspended_resumed_and_killed_from_another_node(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee"]) as made, ThreadPoolExecutor() as at_once:
        job = at_once.submit(made.type, "run", "-c", SPIN, "--on", "bee", "--type", "ai_inference", "--node", "ant")
        (row,) = rows(made, "ant", in_state("RUNNING"))
        assert row["pid"] == f"bee/{row['pid'].rpartition('/')[2]}"
        assert (row["type"], row["priority"], row["parent"]) == ("ai_inference", 0, None)
        assert row["task"] == f"{row['job']}/0"
        assert row["group"] == row["job"]
        pid = row["pid"]
        assert made.json("ps", "--node", "ant") == []
        assert made.json("suspend", pid, "--node", "ant") == {"acted": [pid]}
        rows(made, "bee", in_state("SUSPENDED"))
        assert made.type("suspend", pid, "--node", "ant").code == 1, "it is already"
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


@pytest.mark.parametrize(
    "arguments", [["kill", "7"], ["kill", "bee/x"], ["suspend", "bee/"], ["resume", "bee/1", "--tree", "--group"]]
)
def test_what_is_no_process_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert re.fullmatch(r"potluck: .+\n", capsys.readouterr().err)
