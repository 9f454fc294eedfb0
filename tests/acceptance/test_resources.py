"""What tasks ask for they have for themselves: devices, cores, memory. The driver's library alone is not real."""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from .harness import Pool

DRIVER = r"""
#include <stdio.h>
#include <string.h>
struct memory { unsigned long long total, free, used; };
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
const char *nvmlErrorString(int code) { return "an error"; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned index, void **handle) { *handle = (void *)(long)(index + 1); return 0; }
int nvmlDeviceGetUUID(void *handle, char *text, unsigned size) {
    snprintf(text, size, "GPU-%ld", (long)handle);
    return 0;
}
int nvmlDeviceGetName(void *handle, char *text, unsigned size) { strcpy(text, "Card"); return 0; }
int nvmlDeviceGetMinorNumber(void *handle, unsigned *number) { *number = (long)handle - 1; return 0; }
int nvmlDeviceGetMemoryInfo(void *handle, struct memory *told) { told->total = 1 << 30; return 0; }
"""

TASK = """
import os, time

def on_a_card(seconds):
    began = time.monotonic()
    time.sleep(seconds)
    return [os.environ["CUDA_VISIBLE_DEVICES"], began, time.monotonic()]

def on_a_core(_):
    return sorted(os.sched_getaffinity(0))
"""


@pytest.fixture
def driver(tmp_path: Path) -> str:
    """A folder with a library that lists two cards."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path / "driver"
    folder.mkdir()
    line = [compiler, "-shared", "-fPIC", "-xc", "-", "-o", str(folder / "libnvidia-ml.so.1")]
    subprocess.run(line, input=DRIVER.encode(), check=True, timeout=60)
    return str(folder)


def values(nodes: Pool, folder: Path, function: str, inputs: list[Any], *flags: str) -> list[Any]:
    (folder / "job.py").write_text(TASK)
    (folder / "inputs").write_text("\n".join(json.dumps(one) for one in inputs))
    arguments = ("map", str(folder / "job.py"), "--function", function, "--inputs", str(folder / "inputs"))
    answer = nodes.call(*arguments, "--json", *flags).value
    assert answer["state"] == "completed", answer
    return [task["value"] for task in answer["tasks"]]


def test_a_card_serves_one_task_at_a_time_and_only_those_that_have_asked(
    nodes: Pool, tmp_path: Path, driver: str
) -> None:
    nodes.up("one", "--slots=4", LD_LIBRARY_PATH=driver).await_ready()
    status = nodes.call("status", "--json").value
    assert [gpu["name"] for gpu in status["resources"]["gpus"]] == ["Card", "Card"]
    assert status["load"]["gpus_free"] == 2
    runs = values(nodes, tmp_path, "on_a_card", [[0.2]] * 6, "--needs", "gpu=1")
    assert {card for card, _, _ in runs} == {"GPU-1", "GPU-2"}
    for card in ("GPU-1", "GPU-2"):
        spans = sorted((began, ended) for one, began, ended in runs if one == card)
        assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))
    assert values(nodes, tmp_path, "on_a_card", [[0]], "--needs", "gpu=2")[0][0] == "GPU-1,GPU-2"
    assert values(nodes, tmp_path, "on_a_card", [[0]])[0][0] == "-1"


def test_who_asks_for_cores_runs_on_those_alone_and_for_memory_within_that(nodes: Pool, tmp_path: Path) -> None:
    nodes.up("one").await_ready()
    there = sorted(os.sched_getaffinity(0))
    for core in values(nodes, tmp_path, "on_a_core", [[0]] * 3, "--needs", "cpu=1", "--needs", "ram=256M"):
        assert len(core) == 1 and set(core) <= set(there)
    assert values(nodes, tmp_path, "on_a_core", [[0]]) == [there]
    greedy = nodes.call("run", "-c", "print(len(bytearray(300 << 20)))", "--needs", "ram=128M", "--json")
    assert greedy.value["tasks"][0]["error"]["kind"] == "LimitExceeded"
    for wrong in ("cpu=x", "ram=much", "cores=1", "cpu=1,cpu=2"):
        refused = nodes.call("run", "-c", "1", "--needs", wrong)
        assert refused.code == 2 and len(refused.err.strip().splitlines()) == 1, refused.err
