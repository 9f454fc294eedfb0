"""Memory that a burst has taken is the system's again afterwards."""

from __future__ import annotations

import subprocess
import sys

from hypothesis import given
from hypothesis import strategies as st
from potluck.node.heap import Tidying

MIB = 1 << 20

BURST = """
import resource
from potluck.node.heap import of_this_process

def resident_bytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

tidying = of_this_process()
tidying.look()
burst = [bytes(1000) for _ in range(60_000)]
burst = burst[::100]
before_bytes = resident_bytes()
tidying.look()
given_back_bytes = before_bytes - resident_bytes()
tidying.look()
print(given_back_bytes)
"""


def test_what_lies_between_things_that_live_on_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", BURST], capture_output=True, text=True, check=True)
    assert int(done.stdout) > 30 * MIB


@given(st.lists(st.integers(0, 64 * MIB), max_size=40))
def test_nothing_is_given_back_twice_and_nothing_of_worth_is_kept(free_bytes: list[int]) -> None:
    now_bytes, given_back_at, kept_bytes = 0, 0, 0

    def give_back() -> None:
        nonlocal given_back_at, kept_bytes
        assert kept_bytes >= 4 * MIB
        given_back_at, kept_bytes = now_bytes, 0

    tidying = Tidying(lambda: now_bytes, give_back)
    for now_bytes in free_bytes:
        given_back_at = min(given_back_at, now_bytes)
        kept_bytes = now_bytes - given_back_at
        tidying.look()
        assert kept_bytes < 4 * MIB
