"""A node is one process at a time, wherever it is looked for and however soon it is begun again."""

from __future__ import annotations

import subprocess
import sys
import tempfile

import psutil
import pytest

from .harness import Pool

pytestmark = pytest.mark.processes


def test_a_node_does_not_begin_twice_under_another_runtime_folder(nodes: Pool) -> None:
    """As by ssh, while the desktop's session has it running."""
    nodes.up("wolf").await_ready()
    with tempfile.TemporaryDirectory(prefix="potluck-") as elsewhere:
        second = subprocess.run(
            [sys.executable, "-P", "-m", "potluck", "up", "--name=wolf", "--interface=127.0.0.1"],
            env={**nodes.environment, "XDG_RUNTIME_DIR": elsewhere},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
        )
    assert second.returncode == 1
    assert second.stderr.count("\n") == 1 and "a node named wolf is running already" in second.stderr
    assert nodes.call("mem", "incr", "n", node="wolf").code == 0


def test_when_down_returns_the_process_has_ended_and_another_may_begin(nodes: Pool) -> None:
    for turn in range(1, 4):
        node = nodes.up("vole")
        node.await_ready()
        assert nodes.call("mem", "incr", "n", "--json").value["value"] == turn
        assert nodes.call("down", "vole").code == 0
        process = psutil.Process(node.process.pid)
        assert process.status() == psutil.STATUS_ZOMBIE, "nobody has asked how it ended yet"
        assert node.process.wait(10) == 0


def test_whoever_names_a_node_that_is_not_there_stops_none(nodes: Pool) -> None:
    nodes.up("north").await_ready()
    said = nodes.call("down", "north", "nosuch", "--json")
    assert said.code == 1
    assert said.value["error"]["kind"] == "NoNode"
    assert "'nosuch'" in said.value["error"]["message"]
    assert nodes.call("status", node="north").code == 0
