"""Two that dial each other while they move from address to address: in the end each hears the other."""

from __future__ import annotations

import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from potluck.overlay.errors import NotAllowed, Unavailable
from potluck.overlay.wire.work import CancelInstructions
from potluck.simulations import determinism
from potluck.simulations.ether import Ether

from .test_links import ALICE, BOB, LIMITS, Party

WORD = CancelInstructions("j", 1, [7])
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["first dials", "second dials", "both dial", "first moves", "second moves", "nothing"]),
        st.sampled_from([0.0, 0.001, 0.01, 0.1, 1.0]),
    ),
    max_size=14,
)
DIALS_AGAIN = 6
QUIET_S = 8.0


async def dial(one: Party, other: Party) -> None:
    try:
        await one.links.connect(other.links.address)
    except (Unavailable, NotAllowed):
        pass  # it has moved meanwhile


class Pair:
    def __init__(self, ether: Ether) -> None:
        self.ether = ether
        self.parties = [Party(ether, number, who, LIMITS) for number, who in enumerate((ALICE, BOB), 1)]
        self.ways = [tuple(self.parties), tuple(reversed(self.parties))]
        self._places = 2

    def move(self, party: Party) -> None:
        self._places += 1
        self.ether.move(party.links.address.host, f"10.0.0.{self._places}")

    def begin(self, what: str, nursery: trio.Nursery) -> None:
        for party, (one, other), name in zip(self.parties, self.ways, ("first", "second"), strict=True):
            if what in (f"{name} dials", "both dial"):
                nursery.start_soon(dial, one, other)
            if what == f"{name} moves":
                self.move(party)

    async def find_together(self, nursery: trio.Nursery) -> None:
        """Each dials where it has no link, as membership and discovery do."""
        for _ in range(DIALS_AGAIN):
            await trio.sleep(1.0)
            for one, other in self.ways:
                link = one.links.get(other.identity.node_id)
                if link is None or link.lost:
                    nursery.start_soon(dial, one, other)
        await trio.sleep(QUIET_S)


@given(steps=STEPS, slowest_s=st.sampled_from([0.002, 0.05, 0.3]), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_each_hears_the_other_whoever_has_moved_and_dialled(
    steps: list[tuple[str, float]], slowest_s: float, seed: int
) -> None:
    async def story() -> None:
        async with trio.open_nursery() as nursery:
            pair = Pair(Ether(seed, (0.0002, slowest_s)))
            for party in pair.parties:
                await nursery.start(party.run)
            for what, pause_s in steps:
                pair.begin(what, nursery)
                await trio.sleep(pause_s)
            await pair.find_together(nursery)
            for one, other in pair.ways:
                heard = len(other.received)
                one.link_to(other).post(WORD)
                await trio.sleep(2.0)
                assert other.received[heard:] == [WORD]
            nursery.cancel_scope.cancel()

    determinism.run(story, seed=seed)
