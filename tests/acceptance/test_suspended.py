"""Tasks that are suspended when their nodes die: they are suspended again, and go on where they were."""

from __future__ import annotations

from typing import Any

import pytest

from .harness import Pool, wait_until

pytestmark = pytest.mark.processes

REACHED, STEPS = 3, 10
SAYING = f"""
import time, potluck
def steps():
    done = potluck.checkpointed([])
    while len(done) < {STEPS}:
        if len(done) == {REACHED} and first:
            time.sleep(600)
        done.append(len(done) + 1)
        potluck.checkpoint(done)
    return done
first = potluck.checkpointed() is None
"""
SILENT = "import time\ntime.sleep(600)"


def submitted(nodes: Pool, source: str, *options: str, node: str) -> str:
    answered = nodes.call("run", "-c", source, "--detach", "--json", *options, node=node)
    assert answered.code == 0, answered.err
    return str(answered.value["job"])


def processes(nodes: Pool, node: str) -> dict[str, tuple[str, str, int]]:
    """PID, state and number of checkpoints, by job."""
    answered = nodes.call("ps", "--json", node=node)
    told: list[dict[str, Any]] = answered.value if answered.code == 0 else []
    return {one["job"]: (one["pid"], one["state"], one["checkpoint"]) for one in told}


def act(nodes: Pool, what: str, job: str, node: str) -> None:
    answered = nodes.call(what, processes(nodes, node)[job][0], node=node)
    assert answered.code == 0, answered.err


def await_all(nodes: Pool, node: str, wanted: dict[str, tuple[str, int]]) -> None:
    def there() -> bool:
        return {job: row[1:] for job, row in processes(nodes, node).items()} == wanted

    wait_until(there, f"{wanted} at {node}", 60)


def value(nodes: Pool, job: str, node: str) -> object:
    wait_until(lambda: nodes.call("result", job, node=node).code == 0, f"{job} is over", 60)
    (task,) = nodes.call("result", job, "--json", node=node).value["tasks"]
    return task["value"]


def test_a_suspended_task_is_suspended_again_when_its_node_is_back(nodes: Pool) -> None:
    flags = ("--slots=2",)
    nodes.up_together("s1", flags=flags)
    job = submitted(nodes, SAYING, "--function", "steps", node="s1")
    silent = submitted(nodes, SILENT, node="s1")
    await_all(nodes, "s1", {job: ("RUNNING", REACHED), silent: ("RUNNING", 0)})
    act(nodes, "suspend", job, "s1")
    act(nodes, "suspend", silent, "s1")
    for end in ("killed", "asked to leave"):
        if end == "killed":
            nodes.nodes["s1"].kill()
        else:
            nodes.nodes["s1"].interrupt()
            nodes.nodes["s1"].process.wait(30)
        nodes.up_together("s1", flags=flags)
        await_all(nodes, "s1", {job: ("SUSPENDED", REACHED), silent: ("SUSPENDED", 0)})
    act(nodes, "resume", silent, "s1")
    await_all(nodes, "s1", {job: ("SUSPENDED", REACHED), silent: ("RUNNING", 0)})
    act(nodes, "resume", job, "s1")
    assert value(nodes, job, "s1") == list(range(1, STEPS + 1))
    act(nodes, "kill", silent, "s1")


def test_one_that_another_node_has_given_out_is_suspended_again_wherever_it_comes_to(nodes: Pool) -> None:
    nodes.up_together("s1", "s2", flags=("--slots=1",))
    job = submitted(nodes, SAYING, "--function", "steps", "--on", "s2", node="s1")
    await_all(nodes, "s2", {job: ("RUNNING", REACHED)})
    act(nodes, "suspend", job, "s2")
    await_all(nodes, "s2", {job: ("SUSPENDED", REACHED)})
    nodes.nodes["s2"].kill()
    nodes.up_together("s2")
    await_all(nodes, "s2", {job: ("SUSPENDED", REACHED)})
    act(nodes, "resume", job, "s2")
    assert value(nodes, job, "s1") == list(range(1, STEPS + 1))
