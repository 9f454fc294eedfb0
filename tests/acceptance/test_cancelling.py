"""Cancelling a job while it runs, on real processes."""

from __future__ import annotations

import subprocess
import time

import potluck
import psutil
import pytest
from potluck.client.surroundings import surroundings_of

from ..kin import descendants
from .harness import Pool, wait_until
from .test_endings import gone

pytestmark = pytest.mark.processes

SLEEPER = "7777.25"
PROGRAM = f"""
import subprocess
def main(number):
    subprocess.run(["sleep", "{SLEEPER}"])
    return number
"""
BOUND_S = 2.0
NAMES = ("c1", "c2")


def sleepers(nodes: Pool) -> list[psutil.Process]:
    found = []
    for node in nodes.nodes.values():
        for process in descendants(node.process.pid):
            try:
                if process.cmdline() == ["sleep", SLEEPER]:
                    found.append(process)
            except psutil.NoSuchProcess:
                continue
    return found


COUNTS = [12, pytest.param(1000, marks=[pytest.mark.nightly, pytest.mark.timeout(900)])]


def await_all(nodes: Pool, tasks: int) -> list[psutil.Process]:
    running: list[psutil.Process] = []

    def all_run() -> bool:
        running[:] = sleepers(nodes)
        return len(running) == tasks

    wait_until(all_run, f"{tasks} tasks run", 600)
    return running


@pytest.mark.parametrize("tasks", COUNTS)
def test_cancelled_futures_end_all_their_processes_within_two_seconds_for_good(nodes: Pool, tasks: int) -> None:
    nodes.up_together(*NAMES, flags=[f"--slots={tasks // len(NAMES)}"])
    with potluck.Executor("c1", surroundings=surroundings_of(nodes.environment)) as pool:
        futures = [pool.submit(subprocess.run, ["sleep", SLEEPER]) for _ in range(tasks)]
        running = await_all(nodes, tasks)
        began_s = time.monotonic()
        assert all(potluck.cancel(future) for future in futures)
        wait_until(lambda: gone(running), "their processes are gone")
        assert time.monotonic() - began_s <= BOUND_S
        for future in futures:
            with pytest.raises(potluck.Cancelled):
                future.result(30)
    assert not sleepers(nodes)


@pytest.mark.parametrize("tasks", COUNTS)
def test_a_lasting_job_that_was_cancelled_elsewhere_runs_no_more(nodes: Pool, tasks: int) -> None:
    nodes.up_together(*NAMES, flags=[f"--slots={tasks // len(NAMES)}"])
    program, inputs = nodes.folder / "sleeper.py", nodes.folder / "inputs.jsonl"
    program.write_text(PROGRAM)
    inputs.write_text("".join(f"[{number}]\n" for number in range(tasks)))
    call = ("map", str(program), "--function", "main", "--inputs", str(inputs), "--detach", "--json")
    job = nodes.call(*call, node="c1", timeout_s=300).value["job"]
    running = await_all(nodes, tasks)
    assert nodes.call("cancel", job, "--json", node="c2").value["state"] == "cancelled"
    wait_until(lambda: gone(running), "their processes are gone", BOUND_S)
    told = nodes.call("job", job, "--json", node="c1").value
    assert [task["state"] for task in told["tasks"]] == ["cancelled"] * tasks
    assert not sleepers(nodes)
