"""One seed, one trace: tried in processes of their own, because Hypothesis turns trio's switch on by being imported."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from potluck.simulations import determinism

_TRACE = """
import hashlib, random, sys, trio, trio._core._run as trio_run
from trio.testing import MockClock
from potluck.simulations import determinism

async def main():
    trace = []
    async def note(name):
        for turn in range(6):
            await trio.sleep(0.1)          # all deadlines coincide: the order is trio's choice
            trace.append((name, turn))
    async with trio.open_nursery() as nursery:
        for name in range(12):
            nursery.start_soon(note, name)
    return hashlib.sha256(repr(trace).encode()).hexdigest()

scopes = [trio.CancelScope() for _ in range(500)]
random.SystemRandom().shuffle(scopes)
while scopes:                              # memory is reused in another order in every process
    scopes.pop()

way, seed = sys.argv[1], int(sys.argv[2])
if way == "ours":
    print(determinism.run(main, seed=seed))
else:                                      # the seed alone, without the switch
    trio_run._r.seed(seed)
    print(trio.run(main, clock=MockClock(autojump_threshold=0)))
"""


def _traces(way: str, seed: int, count: int) -> set[str]:
    def trace(hash_seed: int) -> str:
        done = subprocess.run(
            [sys.executable, "-c", _TRACE, way, str(seed)],
            env={"PYTHONHASHSEED": str(hash_seed)},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        return done.stdout.strip()

    return {trace(number) for number in range(count)}


def test_a_seed_gives_one_trace_in_every_process() -> None:
    assert len(_traces("ours", 3, 3)) == 1


def test_seeds_differ() -> None:
    assert _traces("ours", 1, 1) != _traces("ours", 2, 1)


def test_without_the_switch_the_same_seed_gives_other_traces() -> None:
    """Fails on the day trio orders tasks deterministically by itself, or renames what we set."""
    assert len(_traces("seed only", 3, 4)) > 1


def test_what_was_set_is_put_back() -> None:
    import trio._core._run as trio_run

    before = trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()
    with pytest.raises(ZeroDivisionError):
        determinism.run(_divide_by_zero, seed=1)
    assert (trio_run._ALLOW_DETERMINISTIC_SCHEDULING, trio_run._r.getstate()) == before


async def _divide_by_zero() -> None:
    await trio.lowlevel.checkpoint()
    _ = 1 // 0


def test_days_pass_in_no_time() -> None:
    async def sleep_long() -> float:
        await trio.sleep(86_400 * 365)
        return trio.current_time()

    assert determinism.run(sleep_long, seed=1) == 86_400 * 365
