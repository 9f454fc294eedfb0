"""Wall clocks that are wrong."""

from __future__ import annotations

import trio
from potluck.simulations import determinism
from potluck.simulations.clock import EPOCH_S, VirtualWallClock


def test_a_drifting_clock_gains_and_keeps_what_it_gained() -> None:
    async def play() -> None:
        clock = VirtualWallClock(5.0)
        await trio.sleep(100)
        assert clock.now_s() == EPOCH_S + 105
        clock.set_drift(0.5)
        await trio.sleep(10)
        assert clock.now_s() == EPOCH_S + 120
        clock.set_drift(-0.25)
        await trio.sleep(4)
        assert clock.now_s() == EPOCH_S + 123
        clock.set_drift(0.0)
        await trio.sleep(1)
        assert clock.now_s() == EPOCH_S + 124

    determinism.run(play, seed=1)
