"""A node's scheduling policy, chosen when it starts and changed while it runs."""

from __future__ import annotations

import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from potluck.cli import main

from .mesh import mesh

SPIN = "import time\nuntil = time.process_time() + 0.5\nwhile time.process_time() < until: pass\nprint('done')"


@pytest.mark.processes
def test_jobs_take_turns_on_one_slot_and_the_policy_changes_meanwhile(tmp_path: Path) -> None:
    with mesh(tmp_path) as made, ThreadPoolExecutor() as at_once:
        made.up("bee", "--policy", "rr:time_quantum_ms=50")
        assert made.json("status")["policy"] == "rr"
        jobs = [at_once.submit(made.type, "run", "-c", SPIN) for _ in range(3)]
        until_s = time.monotonic() + 30
        while not (told := made.json("policy"))["context_switches"] and time.monotonic() < until_s:
            """They have to be there first."""
        assert told["context_switches"] > 0
        assert made.type("policy", "fair:time_quantum_ms=50").out == "fair\n"
        for job in jobs:
            said = job.result()
            assert (said.code, said.out) == (0, "done\n"), said.err
        told = made.json("policy", "mlfq")
        assert told["policy"] == made.json("status")["policy"] == "mlfq"
        assert told["turnaround_s_mean"] > told["wait_s_mean"] > 0
        assert told["queues"] == [0, 0, 0, 0]
        shown = made.type("policy", "--stats").out
        assert re.search(r"context switches +\d+", shown)


@pytest.mark.parametrize("arguments", [["policy", "lifo"], ["policy", "rr:slice=3"], ["up", "--policy", "lifo"]])
def test_what_is_no_policy_is_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert re.fullmatch(r"potluck: .*policy.*\n", capsys.readouterr().err)
