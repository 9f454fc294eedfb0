"""One seed, one trace: every fault drawn, the same digest of the event log whatever the hash seed of the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable

import pytest

_DIGESTS = """
import json
import sys
from potluck.simulations.run import run_scenario
scenario, wishes, *seeds = sys.argv[1:]
for seed in map(int, seeds):
    answer = run_scenario(scenario, seed=seed, **json.loads(wishes))
    print(seed, answer["event_log_sha256"], answer["figures"], [check["detail"] for check in answer["checks"]])
"""


def traces(hash_seed: int, seeds: Iterable[int], limit_s: float, scenario: str = "mixed", **wishes: float) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", _DIGESTS, scenario, json.dumps(wishes), *map(str, seeds)],
        env={**os.environ, "PYTHONHASHSEED": str(hash_seed)},
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=True,
    )
    return done.stdout.splitlines()


def test_two_seeds_give_one_trace_each_in_every_process() -> None:
    one, other = (traces(hash_seed, range(2), 100, hours=0.004) for hash_seed in (1, 2))
    assert one == other
    assert len(one) == len(set(one)) == 2


def test_who_stays_when_the_others_go_home_is_asked_in_one_order_in_every_process() -> None:
    one, other = (traces(hash_seed, [300], 100, "registers", nodes=6, kill=0.3) for hash_seed in (1, 2))
    assert one == other


def test_who_has_come_back_is_told_agreed_values_in_one_order_in_every_process() -> None:
    one, other = (traces(hash_seed, [1], 100, "registers", nodes=5) for hash_seed in (1, 2))
    assert one == other


@pytest.mark.nightly
@pytest.mark.timeout(4 * 3600)
def test_two_hundred_seeds_give_one_trace_each_in_every_process() -> None:
    one, other = (traces(hash_seed, range(200), 2 * 3600, hours=0.02) for hash_seed in (1, 2))
    assert one == other
    assert len(one) == len(set(one)) == 200
