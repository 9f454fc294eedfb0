"""Starting and ending nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes

END_TIMEOUT_S = 10.0


def command(made: Mesh, *arguments: str, begun_by: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*begun_by, sys.executable, "-m", "potluck", *arguments],
        env=made.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )


def events(process: subprocess.Popen[str], count: int) -> list[dict[str, object]]:
    assert process.stdout is not None
    return [json.loads(process.stdout.readline()) for _ in range(count)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_node_says_it_is_ready_and_leaves_gracefully(tmp_path: Path, number: int) -> None:
    with mesh(tmp_path) as made:
        process = command(made, "up", "--name", "ant", "--interface", "127.0.0.1", "--port", "0", "--json")
        (ready,) = events(process, 1)
        assert set(ready) >= {"event", "name", "node_id", "address", "port", "web", "mesh", "sandbox", "pid"}
        assert (ready["event"], ready["name"], ready["pid"]) == ("ready", "ant", process.pid)
        process.send_signal(number)
        assert process.wait(END_TIMEOUT_S) == 0
        process.communicate()
        assert made.type("status").code == 1


def test_a_node_that_is_to_outlive_its_terminal_does(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        arguments = ["up", "--name", "ant", "--interface", "127.0.0.1", "--port", "0", "--json"]
        process = command(made, *arguments, begun_by=("sh", "-c", 'trap "" HUP; exec "$0" "$@"'))
        events(process, 1)
        process.send_signal(signal.SIGHUP)
        assert made.json("status")["name"] == "ant"
        process.send_signal(signal.SIGTERM)
        assert process.wait(END_TIMEOUT_S) == 0
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGHUP])
def test_several_nodes_under_one_command_end_together(tmp_path: Path, number: int) -> None:
    with mesh(tmp_path) as made:
        arguments = ["--nodes", "3", "--name", "duck", "--interface", "127.0.0.1", "--port", "0", "--slots", "1"]
        process = command(made, "up", *arguments, "--json")
        ready: list[dict[str, object]] = []
        while len(ready) < 3:
            ready += [event for event in events(process, 1) if event["event"] == "ready"]
        assert {event["name"] for event in ready} == {"duck-1", "duck-2", "duck-3"}
        (later,) = events(process, 1)
        assert set(later) >= {"event", "node", "node_id"}
        assert later["observer"] in {"duck-1", "duck-2", "duck-3"} - {later["node"]}
        process.send_signal(number)
        assert process.wait(END_TIMEOUT_S) == 0
        process.communicate()
        assert not any(psutil.pid_exists(int(str(event["pid"]))) for event in ready)


@pytest.mark.parametrize("nodes", [1, 2])
@pytest.mark.parametrize("disk_is_full", [True, False], ids=["full", "no reader"])
def test_nodes_go_on_when_what_they_say_is_not_taken(tmp_path: Path, nodes: int, disk_is_full: bool) -> None:
    with mesh(tmp_path) as made, Path("/dev/full").open("wb") as full:
        arguments = ["--name", "ant", "--nodes", str(nodes), "--interface", "127.0.0.1", "--port", "0", "--slots", "1"]
        process = subprocess.Popen(
            [sys.executable, "-m", "potluck", "up", *arguments],
            env=made.environment,
            stdin=subprocess.DEVNULL,
            stdout=full if disk_is_full else subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        if process.stdout is not None:
            process.stdout.close()
        try:
            made.up("bee")
            first = "ant" if nodes == 1 else "ant-1"
            made.await_seen(first, by="bee")
            made.await_seen("bee", by=first)
        finally:
            process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=END_TIMEOUT_S)
        assert process.returncode == 0, said
        assert "Traceback" not in said and "Exception" not in said


def test_a_detached_node_lives_on_until_it_is_told(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        said = made.type("up", "--name", "ant", "--interface", "127.0.0.1", "--port", "0", "--detach", "--json")
        assert said.code == 0, said
        pid = said.json["pid"]
        try:
            assert made.json("status")["name"] == "ant"
            assert made.json("down")["stopped"] == ["ant"]
            psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], END_TIMEOUT_S)
        finally:
            if psutil.pid_exists(pid):
                os.kill(pid, signal.SIGKILL)
        assert made.type("status").code == 1


def test_down_ends_named_nodes_and_all(tmp_path: Path) -> None:
    with mesh(tmp_path, ["ant", "bee", "cat"]) as made:
        assert made.json("down", "bee")["stopped"] == ["bee"]
        assert made.type("down", "bee", "--json").json["error"]["kind"] == "NoNode"
        assert sorted(made.json("down", "--all")["stopped"]) == ["ant", "cat"]


def test_settings_come_from_file_environment_and_flags_in_this_order(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        (tmp_path / "data").mkdir()
        (tmp_path / "data" / "config.toml").write_text('name = "file"\nslots = 3\nlabel = ["room=1"]\n')
        made.environment["POTLUCK_NAME"] = "environment"
        made.up("flag")
        status = made.json("status")
        assert status["name"] == "flag"
        assert status["load"]["slots"] == 1
