"""Where not everybody is a neighbour: links are opened on demand, kept while they are used, and then let go.

Of links that neither side wants for a neighbour's, and on which a node has said nothing but gossip for `cached_s`, it
keeps `cached_max`, and no more: however many it has been asked over, and whatever it still uses.
"""

from __future__ import annotations

import msgspec
import pytest
import trio
from potluck.overlay.config import Config, Links
from potluck.overlay.links.link import Link
from potluck.overlay.membership.neighbours import choose
from potluck.overlay.wire.control import JobOptions, NodeReports, TaskSpec
from potluck.overlay.wire.values import encode
from potluck.overlay.wire.work import Finished, Program
from potluck.simulations import determinism
from potluck.simulations.gathering import until
from potluck.simulations.world import Machine, World

from .test_world import settle

LIMITS = Links(neighbours_full=4, neighbours_near=2, neighbours_random=1, cached_max=2)
NODES = 14
LET_GO_WITHIN_S = 3.0
"""Membership looks each time it probes, and a link ends by agreement."""


class LargeWorld(World):
    def _config(self, machine: Machine) -> Config:
        return msgspec.structs.replace(super()._config(machine), links=LIMITS)


@pytest.mark.nightly
def test_links_opened_on_demand_are_let_go_and_nobody_is_missed_for_it() -> None:
    async def main() -> None:
        async with trio.open_nursery() as nursery:
            world = LargeWorld(3, nursery)
            names = [world.add_machine().name for _ in range(NODES)]
            for name in names:
                await world.start(name)
            await settle(world, 60.0)
            for number, name in enumerate(names):
                await world.node(name).memory.set(f"k{number}", name.encode(), None)
            for reader in names:
                for number, name in enumerate(names):
                    assert (await world.node(reader).memory.get(f"k{number}"))[0] == name.encode()
            assert max(len(_beyond(world, name, 0.0)) for name in names) > LIMITS.cached_max
            await trio.sleep(30)
            await settle(world, 1.0)
            assert not [line for line in world.log.lines() if " died" in line or " suspected" in line]
            for name in names:
                assert len(_beyond(world, name, LIMITS.cached_s + LET_GO_WITHIN_S)) <= LIMITS.cached_max, name
            await _work_reaches_everyone(world, names[0])
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(main, seed=3)


def _beyond(world: World, name: str, unused_s: float) -> list[Link]:
    """A node's links to whom neither wants for a neighbour, unused for so long."""
    everyone = {world.node(other).identity.node_id for other in world.machines}
    wanted = {node_id: choose(node_id, everyone - {node_id}, LIMITS) for node_id in everyone}
    own_id = world.node(name).identity.node_id
    return [
        link
        for link in world.node(name).links
        if link.used_s <= trio.current_time() - unused_s
        and link.peer.node_id not in wanted[own_id]
        and own_id not in wanted[link.peer.node_id]
    ]


async def _work_reaches_everyone(world: World, master: str) -> None:
    """Also those to whom the link was let go after they had been given work once."""
    node = world.node(master)
    ended: set[int] = set()

    def take(job: str, batches: list[NodeReports]) -> None:
        ended.update(report.index for batch in batches for report in batch.reports if isinstance(report, Finished))

    kinds = sorted({name[0] for name in world.machines})
    job = node.jobs.open(JobOptions(), take)
    for number in range(4):
        specs = [TaskSpec(4 * number + index, encode(kind), kind) for index, kind in enumerate(kinds)]
        node.jobs.submit(job, Program(bytes(32), "kind"), specs)
        assert await until(lambda upto=4 * (number + 1): len(ended) == upto, 20, 0.1)  # type: ignore[misc]
        await trio.sleep(30)
    node.jobs.close(job)
