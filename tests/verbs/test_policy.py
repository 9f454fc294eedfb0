"""A node's scheduling policy, chosen when it starts and changed while it runs."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from potluck.cli import main

from .mesh import mesh

SPIN = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass\nprint('done')"


def await_that(condition: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < until_s


@pytest.mark.processes
def test_jobs_take_turns_on_one_slot_and_the_policy_changes_meanwhile(tmp_path: Path) -> None:
    with mesh(tmp_path) as made, ThreadPoolExecutor() as at_once:
        made.up("bee", "--policy", "rr:time_quantum_ms=50")
        assert made.json("status")["policy"] == "rr"
        jobs = [at_once.submit(made.type, "run", "-c", SPIN) for _ in range(3)]
        await_that(lambda: made.json("policy")["context_switches"] > 0)
        assert made.type("policy", "fair:time_quantum_ms=50").out == "fair:time_quantum_ms=50\n"
        for job in jobs:
            said = job.result()
            assert (said.code, said.out) == (0, "done\n"), said.err
        told = made.json("policy", "mlfq")
        assert told["policy"] == made.json("status")["policy"] == "mlfq"
        assert told["turnaround_s_mean"] > told["wait_s_mean"] > 0
        assert told["queues"] == [0, 0, 0, 0]
        shown = made.type("policy", "--stats").out
        assert re.search(r"context switches +\d+", shown)


IN_ORDER = "import potluck\nprint(potluck.memory.increment('order'))"
GATE = "import time, potluck\nwhile potluck.memory.get('gate') is None: time.sleep(0.05)"


@pytest.mark.processes
@pytest.mark.parametrize(
    ("policy", "later", "sooner"),
    [
        ("sjf", ("--estimate", "30"), ("--estimate", "1")),
        ("priority:preemptive=false", ("--priority", "1"), ("--priority", "2")),
    ],
)
def test_a_policy_chooses_among_jobs_though_it_stops_nothing(
    tmp_path: Path, policy: str, later: tuple[str, ...], sooner: tuple[str, ...]
) -> None:
    with mesh(tmp_path) as made:
        made.up("bee", "--policy", policy)
        jobs = [made.json("run", "--detach", "-c", GATE)["job"]]
        for options in (later, later, sooner):
            jobs.append(made.json("run", "--detach", *options, "-c", IN_ORDER)["job"])
        await_that(lambda: len(made.json("ps")) == len(jobs))
        made.type("mem", "set", "gate", "1")
        await_that(lambda: {made.json("job", job)["state"] for job in jobs} == {"completed"})
        assert [made.type("result", job).out for job in jobs[1:]] == ["2\n", "3\n", "1\n"]


@pytest.mark.parametrize("arguments", [["policy", "lifo"], ["policy", "rr:slice=3"], ["up", "--policy", "lifo"]])
def test_what_is_no_policy_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert re.fullmatch(r"potluck: .*policy.*\n", capsys.readouterr().err)
