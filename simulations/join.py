"""Scenario `join`: very many nodes, each knowing one other, find their places; then every node looks somebody up.

What a lookup costs grows with the logarithm of their number, and so does what a node keeps.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from statistics import mean
from typing import Final

import msgspec
import trio

from ..overlay.config import Dht as DhtConfig
from ..overlay.ids import ID_BYTES, distance
from .checks import Check, check
from .entropy import named_stream
from .overlays import Overlay, Overlays
from .programs import Deed

JOIN_S: Final = 60.0
"""After the last has started."""
LOOKUPS_MAX: Final = 1000
ROUNDS_MAX: Final = 2.5
"""On average, at a thousand nodes; below, no more; above, a third of a round for every doubling."""
_ROUNDS_AT: Final = 1000
_LOOKUPS_APART_S: Final = 0.02


class Outcome(msgspec.Struct):
    joined_s: float | None = None
    join_rpcs: int = 0
    join_bytes: int = 0
    rounds: list[int] = []
    rpcs: list[int] = []
    took_s: list[float] = []
    wrong: list[str] = []
    deeds: list[Deed] = []


class JoinScenario:
    def __init__(self, world: Overlays, seed: int, nodes: int) -> None:
        self._world = world
        self._draws = named_stream(seed, "scenario join")
        self._nodes = nodes
        self.outcome = Outcome()

    async def play(self) -> None:
        with trio.move_on_after(JOIN_S + self._nodes):
            await self._world.gather(self._nodes)
            self.outcome.joined_s = trio.current_time()
        self.outcome.join_rpcs, self.outcome.join_bytes = self._world.air.requests, self._world.air.bytes
        async with trio.open_nursery() as nursery:
            for _ in range(min(self._nodes, LOOKUPS_MAX)):
                await trio.sleep(_LOOKUPS_APART_S)
                target = self._draws.randbytes(ID_BYTES)
                nursery.start_soon(self._look_up, self._draws.choice(self._world.alive), target)

    async def _look_up(self, overlay: Overlay, target: bytes) -> None:
        deed = Deed("look-up", target.hex()[:8], overlay.name, trio.current_time())
        count = overlay.config.dht.replicas
        search = overlay.dht.contacts.search_nodes(target, count)
        found = [contact.node_id for contact in await search.run()]
        outcome, lookup = self.outcome, search.lookup
        deed.returned_s = trio.current_time()
        deed.key += f" in {lookup.rounds} rounds, {lookup.requests} requests"
        outcome.deeds.append(deed)
        outcome.rounds.append(lookup.rounds)
        outcome.rpcs.append(lookup.requests)
        outcome.took_s.append(deed.returned_s - deed.called_s)
        self._world.log.note(overlay.name, "looked up", f"{lookup.rounds} rounds, {lookup.requests} requests")
        nearest = sorted((one.node_id for one in self._world.everyone), key=lambda one: distance(one, target))
        if found != nearest[:count]:
            deed.error = "not the nearest"
            outcome.wrong.append(f"{overlay.name} did not find the nearest to {target.hex()}")


def judge(world: Overlays, scenario: JoinScenario) -> tuple[list[Check], dict[str, object]]:
    outcome, nodes = scenario.outcome, len(world.everyone)
    tables = [len(overlay.dht.contacts.routing) for overlay in world.everyone]
    joined = "" if outcome.joined_s is None else f"after {outcome.joined_s:.2f} s"
    figures = {
        "join_rpcs": outcome.join_rpcs,
        "join_rpcs_mean": round(outcome.join_rpcs / nodes, 2),
        "join_bytes_mean": round(outcome.join_bytes / nodes),
        "lookups": len(outcome.rpcs),
        "lookup_rounds_mean": round(mean(outcome.rounds), 3),
        "lookup_rpcs_mean": round(mean(outcome.rpcs), 3),
        "lookup_s_mean": round(mean(outcome.took_s), 4),
        "table_mean": round(mean(tables), 1),
        "table_max": max(tables),
    }
    checks = [
        check("everyone joined", [] if joined else ["not in time"], joined),
        check("every lookup ends at the true nearest", outcome.wrong, f"{len(outcome.rpcs)} lookups"),
        check("costs grow with the logarithm", _beyond(nodes, figures), f"{nodes} nodes"),
    ]
    return checks, dict(figures)


def _beyond(nodes: int, figures: Mapping[str, float]) -> Iterator[str]:
    """A lookup asks the holders and half a contact for every doubling; a table is a bucket for every doubling."""
    dht = DhtConfig()
    doublings = math.log2(max(nodes, 2))
    limits = {
        "lookup_rounds_mean": ROUNDS_MAX + max(0.0, doublings - math.log2(_ROUNDS_AT)) / 3,
        "lookup_rpcs_mean": dht.replicas + doublings / 2,
        "table_mean": dht.k * max(1.0, 1 + math.log2(max(nodes, 2) / dht.k)),
    }
    for name, limit in limits.items():
        if figures[name] > limit:
            yield f"{name} is {figures[name]:g}, more than {limit:.2f}"
