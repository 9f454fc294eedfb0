"""One question, whatever becomes of the link it goes by."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
from potluck.overlay.config import Config
from potluck.overlay.dht.contacts import Contacts
from potluck.overlay.errors import DeadlineExceeded, LinkLost, Unavailable
from potluck.overlay.ids import NodeId
from potluck.overlay.wire import records as wire
from potluck.overlay.wire.records import Contact
from potluck.simulations import determinism
from potluck.simulations.overlays import Neighbourhood

CONFIG = Config("n1", Path("nowhere"), Path("nowhere"))
LIMIT_S = CONFIG.dht.request_timeout_s * CONFIG.dht.request_tries
OTHER = Contact(bytes([2]) * 20, "10.0.0.2", 9000)


class SlowPeers:
    """One peer: its link takes `opening_s`, whoever would cancel it; every question takes `asking_s` and then breaks
    the link, or outlasts its time."""

    def __init__(self, opening_s: float, asking_s: float) -> None:
        self.up: list[object] = []
        self.round_trip_s = 0.0
        self.asked_s: list[float] = []
        self._opening_s = opening_s
        self._asking_s = asking_s

    def on(self, *_: object) -> None:
        """Nobody asks here."""

    def get(self, node_id: bytes) -> None:
        return None

    def __iter__(self) -> Iterator[SlowPeers]:
        return iter(())

    async def link_to(self, *_: object) -> SlowPeers:
        with trio.CancelScope(shield=True):
            await trio.sleep(self._opening_s)
        return self

    async def request(self, make: object, answer_type: object, timeout_s: float) -> object:
        self.asked_s.append(timeout_s)
        with trio.move_on_after(timeout_s):
            await trio.sleep(self._asking_s)
            raise LinkLost("broken")
        raise DeadlineExceeded("silent")


@pytest.mark.parametrize("opening_s", [0.0, LIMIT_S / 2, LIMIT_S, LIMIT_S + 5])
@pytest.mark.parametrize("asking_s", [0.01, LIMIT_S / 3, LIMIT_S, 100.0])
def test_a_question_ends_with_an_error_of_ours_however_slow_its_link(opening_s: float, asking_s: float) -> None:
    async def scenario() -> None:
        peers = SlowPeers(opening_s, asking_s)
        contacts = Contacts(CONFIG, NodeId(bytes(20)), peers, Neighbourhood(), lambda *_: None)
        with pytest.raises(Unavailable):
            await contacts.ask(OTHER, lambda number: wire.FindNode(number, bytes(20)), wire.Nodes)
        assert trio.current_time() <= LIMIT_S + CONFIG.dht.request_tries * opening_s
        assert all(0 <= timeout_s <= LIMIT_S for timeout_s in peers.asked_s)

    determinism.run(scenario, seed=1)
