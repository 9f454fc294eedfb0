"""Processes that go on at another node."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from potluck.cli import main

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes
PATIENCE_S = 60.0
WAITING = """
import time, potluck
def steps(limit_s):
    done = potluck.checkpointed([])
    if not done:  # the first run stops at its third step, for somebody to move it
        for number in (1, 2, 3):
            done.append(number)
            potluck.checkpoint(done)
        time.sleep(limit_s)
    while len(done) < 8:
        done.append(len(done) + 1)
        potluck.checkpoint(done)
    return done
"""


def row(made: Mesh, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    """Of the only process that there is."""
    until_s = time.monotonic() + PATIENCE_S
    while len(told := made.json("ps", "--all-nodes", "--node", "ant")) != 1 or not wanted(told[0]):
        assert time.monotonic() < until_s, told
    found: dict[str, Any] = told[0]
    return found


def result(made: Mesh, job: str) -> dict[str, Any]:
    until_s = time.monotonic() + PATIENCE_S
    while (said := made.type("result", job, "--json", "--node", "ant")).code:
        assert time.monotonic() < until_s, said
    (task,) = said.json["tasks"]
    found: dict[str, Any] = task
    return found


def refused(made: Mesh, *arguments: str) -> str:
    said = made.type("migrate", *arguments, "--node", "cat")
    assert said.code == 1
    return said.err.removeprefix("potluck: ").strip()


def test_a_task_goes_on_at_another_node_from_its_last_checkpoint(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee", "cat"]) as made:
        submit = ("--function", "steps", "--args", "[600]", "--detach", "--node", "ant")
        job = made.json("run", "-c", WAITING, *submit)["job"]
        at = row(made, lambda one: one["checkpoint"] == 3)
        here, number = at["pid"].split("/")
        there = "bee" if here != "bee" else "ant"
        assert refused(made, at["pid"], "dog") == "no node named dog is in the mesh"
        assert refused(made, f"{here}/9999", there) == f"no process {here}/9999: it has ended, or there never was one"
        assert refused(made, f"dog/{number}", there) == "no node named dog is in the mesh"
        assert refused(made, at["pid"], here) == f"process {at['pid']} is at {here} already"
        assert row(made, lambda one: True)["pid"] == at["pid"], "nothing has changed"
        assert made.json("migrate", at["pid"], there, "--node", "cat") == {"pid": at["pid"], "node": there}
        task = result(made, job)
        assert (task["value"], task["node"]) == (list(range(1, 9)), there)
        assert task["attempts"] == 2
        past = made.json("ps", "--ended", "--node", here)
        assert [one["ended"] for one in past if one["pid"] == at["pid"]] == ["moved"], "it has run there, too"
        made.json("job", "forget", job, "--node", "ant")
        _what_may_run_once_or_lacks_something_stays(made)


def _what_may_run_once_or_lacks_something_stays(made: Mesh) -> None:
    spin = "import time\ntime.sleep(600)"
    made.json("run", "-c", spin, "--on", "bee", "--detach", "--node", "ant")
    pid = row(made, lambda one: one["state"] == "RUNNING")["pid"]
    assert refused(made, pid, "cat").endswith("the task is to run on bee")
    made.json("kill", pid)
    until_s = time.monotonic() + PATIENCE_S
    while made.json("ps", "--all-nodes"):
        assert time.monotonic() < until_s
    made.json("run", "-c", spin, "--at-most-once", "--detach", "--node", "ant")
    pid = row(made, lambda one: one["state"] == "RUNNING")["pid"]
    there = "bee" if not pid.startswith("bee/") else "cat"
    assert refused(made, pid, there).endswith(
        "its task may run at most once, has begun, and has no checkpoint to go on from"
    )
    made.json("kill", pid)


@pytest.mark.parametrize("arguments", [["migrate", "7", "bee"], ["migrate", "bee/1"], ["migrate", "bee/x", "ant"]])
def test_what_is_no_process_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert capsys.readouterr().err.startswith("potluck: ")
