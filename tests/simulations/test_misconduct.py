"""What a misbehaving member says, and that the shipped code on the other side bears it."""

from __future__ import annotations

import random

import pytest
import trio
from potluck.overlay.errors import NotAllowed, PotluckError, RemoteProtocolError, Unavailable
from potluck.overlay.wire import peer
from potluck.overlay.wire.capabilities import LoadReport
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.gossip import LoadNews, PeerExchange, Probe
from potluck.overlay.wire.opening import ConnectRequest, DisconnectRequest
from potluck.overlay.wire.records import Record, Stored, Value
from potluck.overlay.wire.work import ObjectWant
from potluck.simulations import determinism
from potluck.simulations.misconduct import MISCONDUCT, Mouth
from potluck.simulations.world import World

RECORD = Record("mem", b"k", b"v", 7, 1.0, bytes(32), bytes(64))
LOAD = PeerExchange([], [LoadNews(bytes(20), bytes(16), LoadReport(1, slots=2, busy=2, queued=9))])


def said(mouth: Mouth, *messages: Message) -> list[Message]:
    frames = peer.PEER.frames()
    frames.feed(mouth(b"".join(peer.PEER.encode(message) for message in messages)))
    heard = []
    while (body := frames.next_body()) is not None:
        heard.append(peer.PEER.decode(body))
    return heard


def mouth(*ways: str, repeat: float = 0.0) -> Mouth:
    made = Mouth(random.Random(1), repeat)
    for way in ways:
        made.begin(way)
    return made


def test_an_honest_mouth_changes_nothing() -> None:
    for message in (LOAD, Value(1, [RECORD]), Stored(1, True)):
        assert said(mouth(), message) == [message]


def test_a_boaster_is_idle_and_large() -> None:
    (heard,) = said(mouth("boasts"), LOAD)
    assert isinstance(heard, PeerExchange)
    assert (heard.loads[0].load.busy, heard.loads[0].load.queued) == (0, 0)
    assert heard.loads[0].load.slots > 1000


def test_a_refuser_has_stored_nothing() -> None:
    heard = said(mouth("refuses"), Stored(5, True), Stored(6, False, newer=RECORD))
    assert [(one.request, one.accepted) for one in heard] == [(5, False), (6, False)]  # type: ignore[attr-defined]


def test_a_forger_signs_nothing() -> None:
    one, other = said(mouth("forges"), Value(5, [RECORD]), Stored(6, False, newer=RECORD))
    assert isinstance(one, Value) and isinstance(other, Stored) and other.newer is not None
    for forged in (one.records[0], other.newer):
        assert forged.value != RECORD.value and forged.signature == RECORD.signature


def test_a_babbler_soon_says_what_does_not_parse() -> None:
    made = mouth("babbles")
    with pytest.raises(RemoteProtocolError):
        for number in range(400):
            said(made, Probe(number, 0.0))


def test_who_repeats_says_twice_what_may_be_said_twice() -> None:
    opening, closing = ConnectRequest(bytes(20), "n", 1, "control"), DisconnectRequest(True, "")
    want = ObjectWant(1, bytes(16))
    assert said(mouth(repeat=1.0), Probe(1, 0.0)) == [Probe(1, 0.0)] * 2
    for once in (opening, closing, want):
        assert said(mouth(repeat=1.0), once) == [once]


def test_two_ways_at_once_and_an_end() -> None:
    made = mouth("boasts", "repeats")
    assert len(said(made, LOAD)) == 2 and said(made, LOAD)[0] != LOAD
    for way in ("boasts", "repeats"):
        made.end(way)
    assert said(made, LOAD) == [LOAD]
    assert set(MISCONDUCT) == {"boasts", "refuses", "forges", "babbles", "repeats"}


@pytest.mark.parametrize("others,error", [(0, NotAllowed), (2, Unavailable)])
def test_the_last_neighbour_refuses_for_itself_alone_while_others_are_missing(
    others: int, error: type[PotluckError]
) -> None:
    """Of a mesh of two, each is needed, and its word is the answer."""

    async def told() -> None:
        async with trio.open_nursery() as nursery:
            world = World(5, nursery)
            one, liar, *rest = [world.add_machine().name for _ in range(2 + others)]
            for name in world.machines:
                await world.start(name)
            while any(len(world.node(name).membership.present()) <= others for name in world.machines):  # noqa: ASYNC110
                await trio.sleep(0.1)
            for name in rest:
                world.power_off(name)
            await trio.sleep(20)
            world.machines[liar].mouth.begin("refuses")
            with pytest.raises(error):
                await world.node(one).memory.set("k", b"v", None)
            nursery.cancel_scope.cancel()

    determinism.run(told, seed=5)
