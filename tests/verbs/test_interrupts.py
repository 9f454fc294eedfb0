"""Ctrl+C ends any verb soon, and leaves nothing of it behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from ..kin import descendants
from .mesh import mesh

pytestmark = pytest.mark.processes

SOON_S = 2.0
SLOW_MACHINE_S = 3.0
"""Allowed on top where tests share their cores."""


def interrupt(process: subprocess.Popen[str]) -> tuple[float, str, str]:
    family = descendants(process.pid)
    begun_s = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    took_s = time.monotonic() - begun_s
    _, alive = psutil.wait_procs(family, SLOW_MACHINE_S)
    assert not alive
    return took_s, out, err


def start(arguments: list[str], environment: dict[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "potluck", *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def test_a_waiting_run_ends_and_its_task_is_cancelled(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant"]) as made:
        process = start(["run", "-c", "while True: pass"], made.environment)
        while made.json("status")["load"]["busy"] == 0:
            pass
        took_s, out, err = interrupt(process)
        assert (process.returncode, out, err) == (1, "", "potluck: interrupted\n")
        assert took_s < SOON_S + SLOW_MACHINE_S
        while made.json("status")["load"]["busy"]:
            pass


def test_with_json_an_interruption_is_an_error_object(tmp_path: Path) -> None:
    environment = {**os.environ, "POTLUCK_DATA_DIR": str(tmp_path / "data"), "XDG_RUNTIME_DIR": str(tmp_path)}
    process = start(["join", "7-copper-lantern", "--interface", "127.0.0.1", "--json"], environment)
    while not psutil.Process(process.pid).net_connections("udp"):
        assert process.poll() is None
    _, out, err = interrupt(process)
    assert (process.returncode, err) == (1, "potluck: interrupted\n")
    assert json.loads(out)["error"]["kind"] == "Cancelled"


def test_a_demo_that_is_interrupted_while_tiles_are_under_way_cleans_up(tmp_path: Path) -> None:
    process = start(["demo"], {**os.environ, "TMPDIR": str(tmp_path)})
    assert process.stdout is not None
    while "is killed" not in process.stdout.readline():
        assert process.poll() is None
    took_s, _, err = interrupt(process)
    assert (process.returncode, err) == (1, "potluck: interrupted\n")
    assert took_s < SOON_S + SLOW_MACHINE_S
    assert not list(tmp_path.iterdir())


def test_a_join_that_still_looks_for_its_inviter_ends_and_changes_nothing(tmp_path: Path) -> None:
    environment = {**os.environ, "POTLUCK_DATA_DIR": str(tmp_path / "data"), "XDG_RUNTIME_DIR": str(tmp_path)}
    process = start(["join", "7-copper-lantern", "--interface", "127.0.0.1"], environment)
    while not psutil.Process(process.pid).net_connections("udp"):
        assert process.poll() is None
    took_s, out, err = interrupt(process)
    assert (process.returncode, out, err) == (1, "", "potluck: interrupted\n")
    assert took_s < SOON_S + SLOW_MACHINE_S
    assert not (tmp_path / "data" / "mesh.toml").exists()


def test_whoever_reads_no_further_ends_the_run_without_a_word(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        made.up("ant")
        source = "while True: print('y' * 100)"
        with subprocess.Popen(
            [sys.executable, "-m", "potluck", "run", "-c", source],
            env=made.environment,
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as run:
            assert run.stdout is not None and run.stderr is not None
            assert run.stdout.readline() == "y" * 100 + "\n"
            run.stdout.close()
            assert run.wait(30) == 1
            assert run.stderr.read() == ""
        made.await_processes("ant")
