"""How much faster than life the simulation runs: virtual seconds per second of one core.

    python benchmarks/simulation.py [--seconds 120] [--json]

Idle nodes that know each other, measured after they have settled; and the engines of an overlay without their nodes:
ten failure detectors that watch each other, and ten parts of a DHT, of which one is asked for a set and a get each
second. The clock is the processor's, so that whatever else the machine does counts little.
"""

from __future__ import annotations

import argparse
import json
import time

import trio
from potluck.overlay.config import Membership
from potluck.simulations import determinism
from potluck.simulations.detectors import Mesh
from potluck.simulations.entropy import named_stream
from potluck.simulations.gathering import start_all
from potluck.simulations.overlays import Overlays
from potluck.simulations.world import World

SETTLE_S = 20.0
DAEMONS = (10, 50)
ENGINES = 10


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


def detectors(count: int, seconds: float) -> float:
    """The same for engines of membership, on links that never stall."""
    mesh = Mesh(count, 1, Membership(), lambda now_s, peer, change: None)
    mesh.run(SETTLE_S)
    began_s = time.process_time()
    mesh.run(SETTLE_S + seconds)
    return seconds / (time.process_time() - began_s)


async def stores(count: int, seconds: float) -> float:
    """The same for engines of the DHT with something to do."""
    async with trio.open_nursery() as nursery:
        world = Overlays(1, nursery, holding_records=True)
        await world.gather(count)
        await trio.sleep(SETTLE_S)
        began_s = time.process_time()
        for second in range(round(seconds)):
            setter, getter = (world.everyone[(second + ahead) % count] for ahead in (0, 1))
            await setter.replication.put("mem", b"key", b"%d" % second)
            found = await getter.replication.get("mem", b"key")
            assert found is not None and found.value == b"%d" % second
            await trio.sleep(1.0)
        spent_s = time.process_time() - began_s
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
    figures[f"{ENGINES} failure detectors"] = detectors(ENGINES, options.seconds * 10)
    figures[f"{ENGINES} parts of a DHT"] = determinism.run(stores, ENGINES, options.seconds * 10, seed=1)
    if options.json:
        print(json.dumps(figures))
    else:
        for name, ratio in figures.items():
            print(f"{name:20} {ratio:8.1f} x real time")


if __name__ == "__main__":
    main()
