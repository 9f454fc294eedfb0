"""Lasting jobs whose results are many and long: they lie on disks, and no node holds them all in memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from .harness import Pool
from .test_lasting_jobs import await_over

pytestmark = pytest.mark.processes

NAMES = ("l1", "l2", "l3")
RESULTS = 240
MOST_BYTES = 100 << 20
LONG = """
import os
def long(number):
    return os.urandom(1 << 20).hex()[: 1 << 20]
"""


def most_resident_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def test_no_node_of_a_lasting_job_holds_all_its_results_in_memory(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    pids = [node.process.pid for node in nodes.nodes.values()]
    before_bytes = {pid: most_resident_bytes(pid) for pid in pids}
    (nodes.folder / "long.py").write_text(LONG)
    (nodes.folder / "inputs.jsonl").write_text("".join(json.dumps([number]) + "\n" for number in range(RESULTS)))
    call = ("map", "long.py", "--function", "long", "--inputs", "inputs.jsonl", "--detach", "--json")
    job = nodes.call(*call, node="l1").value["job"]
    told = await_over(nodes, job, "l1")
    assert {len(one["value"]) for one in told["tasks"]} == {1 << 20}
    assert all(most_resident_bytes(pid) - before_bytes[pid] < MOST_BYTES for pid in pids)
