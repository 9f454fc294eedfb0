"""What the shell of registers does with what no proposer of ours would say."""

from __future__ import annotations

import msgspec
import pytest
import trio
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.registers import Accept, Ballot, Configuration, Founded, Prepare, State
from potluck.simulations import determinism
from potluck.simulations.world import World

CONFIGURATION = Configuration(2, [bytes(20)])
STRANGE = {
    "a root that does not parse": Accept(1, b"", b"", Ballot(1), State(CONFIGURATION, 0, b"\xc1")),
    "a ballot beyond all others": Accept(1, b"", b"r", Ballot((1 << 50) - 1), State(CONFIGURATION)),
    "a ballot of somebody else": Prepare(1, b"", b"r", Ballot(1, bytes(28))),
    "a founding that is none": Founded(b"", CONFIGURATION),
    "a founding without acceptors": Founded(b"12345678", Configuration(2, [])),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_makes_no_sense_costs_a_link_and_nothing_else(what: str) -> None:
    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(3, nursery)
            names = [world.add_machine().name for _ in range(2)]
            for name in names:
                await world.start(name)
            await trio.sleep(5)
            one, two = (world.node(name) for name in names)
            link = one.links.get(two.node_id)
            assert link is not None
            link.post(_by_its_sender(STRANGE[what], one.node_id))
            await trio.sleep(1)
            assert link.lost
            await trio.sleep(20)
            assert (await one.memory.increment("k", 1))["value"] == 1
            assert not world.failures
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=3)


def _by_its_sender(message: Message, node_id: bytes) -> Message:
    """A ballot that names no proposer is the sender's own."""
    if isinstance(message, Accept) and not message.ballot.proposer:
        return msgspec.structs.replace(message, ballot=Ballot(message.ballot.counter, node_id + bytes(8)))
    return message
