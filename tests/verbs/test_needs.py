"""Tasks run where there is what they need, and else say what everybody lacks."""

from __future__ import annotations

from pathlib import Path

import pytest
from potluck.client.executor import Executor
from potluck.client.options import options

from .mesh import mesh

pytestmark = pytest.mark.processes


def test_a_task_goes_where_there_is_what_it_needs_and_else_everybody_is_named_with_what_is_lacking(
    tmp_path: Path,
) -> None:
    with mesh(tmp_path) as made:
        made.up("ant")
        made.up("bee", "--label", "room=12", "--memory", "64M")
        for _ in range(3):
            (task,) = made.json("run", "--node", "ant", "--needs", "label=room:12,cpu=1", "-c", "pass")["tasks"]
            assert task["node"] == "bee"
        with Executor("ant", surroundings=made.surroundings) as pool:
            future = pool.submit(options(needs={"label": "room:12", "ram": "32M"})(len), "four")
            assert future.result() == 4
            assert future.node == "bee"  # type: ignore[attr-defined]
        said = made.type("run", "--node", "ant", "--needs", "label=room:12,ram=1G", "-c", "pass")
        assert said.code == 1
        assert "ant: it does not have the label room=12" in said.err
        assert "bee: it has 67108864 bytes of memory, the task needs 1073741824" in said.err
        refused = made.type("run", "--needs", "cpus=1", "-c", "pass")
        assert (refused.code, refused.err) == (2, "potluck: needs 'cpus': one of cpu, ram, gpu, label, kind\n")
