"""What the machine tells of its owner."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from potluck.node.lending.desk import Desk

BURN = "import time\nend = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_the_last_use_of_a_device_is_the_owners(tmp_path: Path) -> None:
    device = tmp_path / "device"
    device.touch()
    long_ago = time.time() - 100  # noqa: TID251
    os.utime(device, (long_ago, long_ago))
    desk = Desk([str(device), str(tmp_path / "absent")])
    untouched_s = desk.look().untouched_s
    assert untouched_s < 110
    device.touch()
    assert desk.look().untouched_s < 50


def test_what_the_node_has_started_is_not_the_owners_work() -> None:
    desk = Desk()
    assert desk.look().busy_cpus == 0
    began_s = time.monotonic()
    ours_before = os.times()
    subprocess.run([sys.executable, "-c", BURN], check=True, timeout=60)
    assert os.times().children_user > ours_before.children_user
    taken = desk.look().busy_cpus
    assert 0 <= taken <= (os.cpu_count() or 1) + 0.5
    assert time.monotonic() > began_s
