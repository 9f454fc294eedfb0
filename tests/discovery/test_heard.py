"""What was heard is remembered as far as it is worth it, however much somebody makes up."""

from __future__ import annotations

from collections import OrderedDict

from hypothesis import given
from hypothesis import strategies as st
from potluck.discovery.beacon import BeaconEngine
from potluck.discovery.heard import KEPT_MAX, Heard, Latest
from potluck.discovery.tags import tag
from potluck.overlay.config import Discovery
from potluck.overlay.ports import Address
from potluck.overlay.wire.beacon import BEACON, Discover

KEY, OTHER_KEY, OWN = b"k" * 32, b"o" * 32, b"own nonc"
WALL_S = 1_700_000_000.0


@given(steps=st.lists(st.tuples(st.integers(0, 2 * KEPT_MAX), st.booleans()), max_size=3 * KEPT_MAX))
def test_the_latest_are_kept_and_no_more(steps: list[tuple[int, bool]]) -> None:
    latest: Latest[int, int] = Latest()
    model: OrderedDict[int, int] = OrderedDict()
    for n, (key, is_dropped) in enumerate(steps):
        if is_dropped:
            latest.drop(key)
            model.pop(key, None)
        else:
            latest.note(key, n)
            model[key] = n
            model.move_to_end(key)
            if len(model) > KEPT_MAX:
                model.popitem(last=False)
        assert latest.get(key) == model.get(key)
    assert list(latest.entries.items()) == list(model.items())


def beacon(key: bytes = KEY, sender: bytes = b"a nonce.", port: int = 9001) -> bytes:
    return BEACON.encode(Discover(tag(key, WALL_S), sender, port))


def test_own_members_and_strangers_beacons_are_told_apart_and_noise_is_nobody() -> None:
    heard = Heard()
    engine = BeaconEngine(Discovery(), KEY, OWN, 9000, heard)
    engine.received(1.0, WALL_S, beacon(sender=OWN, port=9000), "10.0.0.1")
    engine.received(2.0, WALL_S, beacon(), "10.0.0.2")
    engine.received(3.0, WALL_S, beacon(OTHER_KEY), "10.0.0.3")
    for noise in (b"", b"\0" * 60, beacon(port=0)):
        engine.received(4.0, WALL_S, noise, "10.0.0.4")
    assert dict(heard.echoes.entries) == {"10.0.0.1": 1.0}
    assert dict(heard.members.entries) == {Address("10.0.0.2", 9001): 2.0}
    assert dict(heard.strangers.entries) == {Address("10.0.0.3", 9001): 3.0}


def test_the_first_stranger_is_told_and_no_other() -> None:
    heard, told = Heard(), []
    heard.first_stranger = told.append
    for n in range(3):
        heard.stranger(float(n), Address("10.0.0.3", 9000 + n))
    assert told == [Address("10.0.0.3", 9000)]


def test_failures_are_counted_until_the_address_answers() -> None:
    heard, address = Heard(), Address("10.0.0.2", 9000)
    for n in range(3):
        heard.failed(float(n), address, f"reason {n}", given=True)
    failure = heard.failures.get(address)
    assert failure is not None
    assert (failure.reason, failure.times, failure.given, failure.answered) == ("reason 2", 3, True, False)
    heard.reached(5.0, address)
    assert heard.failures.get(address) is None
    heard.failed(6.0, address, "gone", given=True)
    failure = heard.failures.get(address)
    assert failure is not None
    assert (failure.times, failure.answered) == (1, True)
