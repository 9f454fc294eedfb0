"""Many seeds at once: what fails is shown, what it costs is told, and Ctrl+C leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from typing import Any

import psutil
import pytest
from potluck.overlay.errors import UsageError
from potluck.simulations.run import Settings, run_scenario
from potluck.simulations.seeds import run_seeds

from ..kin import children

_COMMAND = (sys.executable, "-m", "potluck", "sim")


def test_seeds_that_hold_are_only_counted() -> None:
    told: list[Any] = []
    total = run_seeds("jobs", Settings(nodes=2, kill=0.0), range(1, 4), told.append)
    assert not told
    assert (total["seeds"], total["failed"]) == (3, 0)
    assert isinstance(total["virtual_hours"], float) and total["virtual_hours"] > 0
    assert list(total) == ["seeds", "failed", "virtual_hours", "wall_s"]


def test_what_fails_is_told_as_it_would_be_alone() -> None:
    """Nobody can join where every message is lost."""
    told: list[Any] = []
    total = run_seeds("jobs", Settings(nodes=2, kill=0.0, loss=1.0), range(1, 3), told.append)
    assert (total["seeds"], total["failed"]) == (2, 2)
    alone = run_scenario("jobs", nodes=2, kill=0.0, loss=1.0, seed=2)
    (same,) = (answer for answer in told if answer["seed"] == 2)
    assert {**same, "wall_s": 0} == {**alone, "wall_s": 0}
    assert same["replay"] == "potluck sim jobs --nodes 2 --seed 2 --kill 0 --loss 1"


def test_what_makes_no_sense_is_refused_before_anything_starts() -> None:
    with pytest.raises(UsageError, match="no scenario"):
        run_seeds("jobz", Settings(), range(2), lambda answer: None)


def test_the_command_prints_what_failed_and_a_sum_and_exits_by_it() -> None:
    options = ("jobs", "--nodes", "2", "--loss", "1", "--seeds", "1..2", "--json")
    done = subprocess.run([*_COMMAND, *options], capture_output=True, text=True, timeout=100)
    assert done.returncode == 1
    *failed, total = map(json.loads, done.stdout.splitlines())
    assert {answer["seed"] for answer in failed} == {1, 2}
    assert not any(answer["held"] for answer in failed)
    assert {**total, "wall_s": 0, "virtual_hours": 0} == {"seeds": 2, "failed": 2, "virtual_hours": 0, "wall_s": 0}


@pytest.mark.parametrize("seeds", ["", "7", "3..1", "a..b", "1...2"])
def test_seeds_that_are_no_range_are_a_usage_error(seeds: str) -> None:
    done = subprocess.run([*_COMMAND, "jobs", "--seeds", seeds], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "A..B" in done.stderr


def has_worked(process: psutil.Process) -> bool:
    try:
        return process.cpu_times().user > 0.6
    except psutil.NoSuchProcess:
        return False  # one that was there for a moment


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_however_it_is_ended_it_leaves_no_process(how: signal.Signals) -> None:
    options = ("mixed", "--nodes", "6", "--hours", "100", "--seeds", "1..4")
    with subprocess.Popen([*_COMMAND, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        while not (workers := [child for child in children(process.pid) if has_worked(child)]):
            assert process.poll() is None
        process.send_signal(how)
        _, complaint = process.communicate(timeout=60)
    if how == signal.SIGINT:
        assert (process.returncode, complaint.strip()) == (1, "potluck: interrupted")
    _, left = psutil.wait_procs(workers, timeout=30)
    assert not left
