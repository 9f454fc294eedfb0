"""How things end: Ctrl+C, graceful leaves, idle workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from ..kin import descendants
from .harness import Pool, wait_until
from .test_scenarios import NAP

pytestmark = pytest.mark.processes


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *descendants(process.pid)]


def gone(processes: list[psutil.Process]) -> bool:
    return not any(map(runs, processes))


def runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False  # it has gone between the two questions


def start(nodes: Pool, *arguments: str, node: str | None = None) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "potluck", *arguments],
        env={**nodes.environment, **({"POTLUCK_NODE": node} if node else {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def interrupt(process: subprocess.Popen[bytes]) -> float:
    """Ctrl+C as a terminal sends it: to the whole foreground group. Seconds until it ended."""
    started_s = time.monotonic()
    os.killpg(process.pid, signal.SIGINT)
    process.communicate(timeout=10)
    return time.monotonic() - started_s


def test_ctrl_c_ends_a_node_and_its_workers_within_two_seconds(nodes: Pool) -> None:
    node = nodes.up("p1")
    node.await_ready()
    wait_until(lambda: len(family(node.process.pid)) > 1, "it has warm workers")
    everyone = family(node.process.pid)
    started_s = time.monotonic()
    os.killpg(node.process.pid, signal.SIGINT)
    assert node.process.wait(10) == 0
    assert time.monotonic() - started_s < 2
    wait_until(lambda: gone(everyone), "its workers are gone", 1)


def test_ctrl_c_ends_a_running_command_within_two_seconds_and_its_task_too(nodes: Pool) -> None:
    node = nodes.up("p1", "--slots=1")
    node.await_ready()
    running = start(nodes, "run", "-c", NAP, "--function", "main", "--args", "[600]", node="p1")
    wait_until(lambda: nodes.call("status", "--json").value["load"]["busy"] == 1, "the task runs")
    assert interrupt(running) < 2
    assert running.returncode == 1
    wait_until(lambda: nodes.call("status", "--json").value["load"]["busy"] == 0, "the task has ended", 3)


def test_ctrl_c_ends_several_nodes_started_as_one_command(nodes: Pool) -> None:
    up = start(nodes, "up", "--json", "--nodes", "3", "--name", "n", "--interface", "127.0.0.1")
    assert up.stdout is not None
    ready = [json.loads(up.stdout.readline()) for _ in range(3)]
    assert [one["event"] for one in ready] == ["ready"] * 3
    assert len({one["name"] for one in ready}) == len({one["port"] for one in ready}) == 3
    everyone = family(up.pid)
    assert len(everyone) > 3
    assert interrupt(up) < 2
    wait_until(lambda: gone(everyone), "all nodes and workers are gone", 2)


def test_ctrl_c_in_the_middle_of_the_demo_leaves_nothing(nodes: Pool) -> None:
    demo = start(nodes, "demo")
    wait_until(lambda: len(family(demo.pid)) > 4, "it has started nodes and workers")
    everyone = family(demo.pid)
    assert interrupt(demo) < 2
    wait_until(lambda: gone(everyone), "all of it is gone", 2)


def test_a_graceful_leave_is_known_within_a_second_and_hands_unstarted_work_back(nodes: Pool) -> None:
    nodes.up_together("p1", "p2", "p3", flags=["--slots=1"])
    inputs = nodes.folder / "inputs.jsonl"
    inputs.write_text("[0.01]\n" * 1500)  # so short that each node is given several ahead
    program = nodes.folder / "nap.py"
    program.write_text(NAP)
    with ThreadPoolExecutor() as threads:
        answer = threads.submit(
            nodes.call, "map", str(program), "--json", "--function", "main", "--inputs", str(inputs), node="p1"
        )
        wait_until(lambda: nodes.call("status", "--json", node="p3").value["load"]["queued"] > 0, "p3 has work waiting")
        left_s = time.monotonic()
        nodes.nodes["p3"].interrupt()
        result = answer.result().value
    assert [task["value"] for task in result["tasks"]] == [0.01] * 1500
    assert {task["node"] for task in result["tasks"]} == {"p1", "p2", "p3"}
    assert sum(task["attempts"] > 1 for task in result["tasks"]) <= 1, "only what ran there was begun twice"
    for name in ("p1", "p2"):
        times = nodes.nodes[name].event_times("left", "p3")
        assert times and times[0] - left_s < 1
        assert not nodes.nodes[name].event_times("died", "p3")
    assert nodes.nodes["p3"].process.wait(5) == 0


def test_down_ends_a_node_and_says_so(nodes: Pool) -> None:
    node = nodes.up("p1")
    node.await_ready()
    assert nodes.call("down", "--json", "p1").value["stopped"] == ["p1"]
    assert node.process.wait(5) == 0


@pytest.mark.nightly
def test_a_worker_that_has_been_idle_still_works(nodes: Pool) -> None:
    """Its parent thread must outlive it: a death signal follows the thread that started the process."""
    node = nodes.up("p1", "--slots=1")
    node.await_ready()
    wait_until(lambda: len(family(node.process.pid)) > 1, "it has a warm worker")
    warm = family(node.process.pid)[1:]
    lost, alive = psutil.wait_procs(warm, timeout=60)
    assert not lost
    assert alive
    answer = nodes.call("run", "--json", "-c", NAP, "--function", "main", "--args", "[0]").value
    assert answer["tasks"][0]["attempts"] == 1


def test_ctrl_c_ends_a_simulation_with_one_line(nodes: Pool) -> None:
    simulation = start(nodes, "sim", "jobs", "--nodes", "30")
    # Later than its imports: an interpreter that is interrupted in one may end by the signal, whoever catches it.
    wait_until(lambda: psutil.Process(simulation.pid).cpu_times().user > 3, "it is under way")
    started_s = time.monotonic()
    os.killpg(simulation.pid, signal.SIGINT)
    _, said = simulation.communicate(timeout=10)
    assert time.monotonic() - started_s < 2
    assert (simulation.returncode, said) == (1, b"potluck: interrupted\n")
