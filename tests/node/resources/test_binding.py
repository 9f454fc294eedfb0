"""A tree of processes stays on the cores that it was given."""

from __future__ import annotations

import os
import subprocess
import sys

import psutil
import pytest
from potluck.node.resources.binding import bind

from ...kin import children

CORES = sorted(os.sched_getaffinity(0))
FAMILY = """
import os, sys, threading
os.fork()
rest = threading.Event()
threading.Thread(target=rest.wait, daemon=True).start()
os.write(1, b"there\\n")  # at once: both write to one pipe
sys.stdin.read()
"""


@pytest.mark.skipif(len(CORES) < 2, reason="there is one core")
def test_all_threads_of_all_of_its_processes_move_and_who_is_gone_is_no_matter() -> None:
    with subprocess.Popen([sys.executable, "-c", FAMILY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as first:
        assert first.stdout is not None and first.stdin is not None
        assert [first.stdout.readline() for _ in range(2)] == [b"there\n"] * 2
        processes = [psutil.Process(first.pid), *children(first.pid)]
        for wanted in ([CORES[1]], [CORES[0]], CORES):
            assert bind(lambda: [*(process.pid for process in processes), 2**22 + 1], wanted)
            where = [os.sched_getaffinity(thread.id) for process in processes for thread in process.threads()]
            assert where == [set(wanted)] * 4
        first.stdin.close()
