"""A machine that moves into another mesh, or to another owner, brings its jobs along."""

from __future__ import annotations

from typing import Any

import pytest

from .harness import Pool, wait_until
from .owners import await_alive, let_in, machines, up

__all__ = ["machines"]
pytestmark = pytest.mark.processes

GATE = "import time, potluck\nwhile potluck.memory.get('gate') is None: time.sleep(0.05)\nprint('through')"


def detached(machine: Pool, source: str) -> str:
    return str(machine.call("run", "--detach", "--json", "-c", source).value["job"])


def told(machine: Pool, job: str) -> Any:
    return machine.call("job", job, "--json").value


@pytest.mark.parametrize("flags", [(), ("--mine",)], ids=["of its own owner", "of its new owner"])
def test_a_machine_that_joins_has_its_jobs_after_it(machines: list[Pool], flags: tuple[str, ...]) -> None:
    one, two, _ = machines
    up(one, "north")
    up(two, "south")
    done, going = detached(two, "print('done')"), detached(two, GATE)
    wait_until(lambda: told(two, done)["state"] == "completed", "the first is done")
    wait_until(lambda: told(two, going)["state"] == "running", "the second runs")
    let_in(one, two, *flags)
    await_alive(two, "north", "south")
    wait_until(lambda: two.call("result", done).out == "done\n", "what was done is there")
    wait_until(lambda: {row["job"] for row in two.call("jobs", "--json").value} == {done, going}, "both are listed")
    wait_until(lambda: told(two, going).get("state") == "running", "the other one goes on")
    if flags:
        assert one.call("result", done).out == "done\n", "they are of one owner now"
    assert two.call("mem", "set", "gate", "1").code == 0
    wait_until(lambda: two.call("result", going).out == "through\n", "it is done")
    assert two.call("job", "forget", done).code == two.call("job", "forget", going).code == 0
    assert two.call("jobs", "--json").value == []
