"""How much faster than life the simulation runs: virtual seconds per second of one core.

    python benchmarks/simulation.py [--seconds 120] [--json]

Idle nodes that know each other, measured after they have settled. The clock is the processor's, so that whatever else
the machine does counts little.
"""

from __future__ import annotations

import argparse
import json
import time

import trio
from potluck.simulations import determinism
from potluck.simulations.entropy import named_stream
from potluck.simulations.gathering import start_all
from potluck.simulations.world import World

SETTLE_S = 20.0
DAEMONS = (10, 50)


async def idle_daemons(count: int, seconds: float) -> float:
    """Virtual seconds per second of whole nodes with nothing to do."""
    async with trio.open_nursery() as nursery:
        world = World(1, nursery)
        names = [world.add_machine().name for _ in range(count)]
        await start_all(world, names, named_stream(1, "starts"))
        await trio.sleep(SETTLE_S)
        began_s = time.process_time()
        await trio.sleep(seconds)
        spent_s = time.process_time() - began_s
        assert not world.failures, world.failures
        nursery.cancel_scope.cancel()
    return seconds / spent_s


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120.0, help="virtual seconds for ten nodes  [120]")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    figures = {
        f"{count} idle daemons": determinism.run(idle_daemons, count, options.seconds * 10 / count, seed=1)
        for count in DAEMONS
    }
    if options.json:
        print(json.dumps(figures))
    else:
        for name, ratio in figures.items():
            print(f"{name:20} {ratio:8.1f} x real time")


if __name__ == "__main__":
    main()
