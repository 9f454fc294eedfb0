"""Whoever waits for tasks of which nothing runs is told why."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .mesh import mesh

GATE = "import time, potluck\nwhile potluck.memory.get('gate') is None: time.sleep(0.05)"


@pytest.mark.processes
def test_a_command_that_waits_for_a_slot_says_so_once_and_goes_on(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        made.up("ant")
        made.json("run", "--detach", "-c", GATE)
        with subprocess.Popen(
            [sys.executable, "-m", "potluck", "run", "-c", "print('done')"],
            env=made.environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as waiting:
            try:
                assert waiting.stderr is not None
                assert waiting.stderr.readline() == "potluck: waits: every slot that could run it is taken\n"
            finally:
                made.type("mem", "set", "gate", "1")
            out, rest = waiting.communicate(timeout=60)
        assert (waiting.returncode, out) == (0, "done\n")
        assert rest.startswith("ran on ant in ") and rest.count("\n") == 1
