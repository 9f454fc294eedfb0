"""The beacon: hints from members, nothing from anyone else, and no flood changes that."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st
from potluck.discovery.beacon import BeaconEngine, Send, Sighted
from potluck.discovery.tags import PERIOD_S, TAG_BYTES, is_ours, tag
from potluck.overlay.config import Discovery
from potluck.overlay.ports import Address
from potluck.overlay.wire.beacon import BEACON, BEACON_BYTES_MAX, Discover, Hello

from ..strategies.messages import of_type

KEY, OTHER_KEY = bytes(32), bytes([1]) * 32
OWN, PEER = b"ownnonce", b"peernonc"
WALL_S = 1_700_000_000.0
CONFIG = Discovery()


def engine() -> BeaconEngine:
    return BeaconEngine(CONFIG, KEY, OWN, 9000)


def discover(
    key: bytes = KEY, sender: bytes = PEER, port: int = 9001, wall_s: float = WALL_S, *, hello: bool = False
) -> bytes:
    return BEACON.encode((Hello if hello else Discover)(tag(key, wall_s), sender, port))


def test_a_member_that_looks_for_others_is_seen_and_greeted() -> None:
    seen, answer = engine().received(0.0, WALL_S, discover(), "10.0.0.2")
    assert seen == Sighted(Address("10.0.0.2", 9001))
    assert isinstance(answer, Send)
    other = BeaconEngine(CONFIG, KEY, PEER, 9001)
    assert other.received(0.0, WALL_S, BEACON.encode(answer.message), "10.0.0.1") == [
        Sighted(Address("10.0.0.1", 9000))
    ]


@given(data=st.binary(max_size=600), host=st.text(max_size=20))
def test_any_datagram_means_something_or_nothing(data: bytes, host: str) -> None:
    assert engine().received(0.0, WALL_S, data, host) == []


@given(message=of_type(Discover) | of_type(Hello), extra=st.binary(max_size=3))
def test_foreign_and_trailing_bytes_mean_nothing(message: Discover | Hello, extra: bytes) -> None:
    assert engine().received(0.0, WALL_S, BEACON.encode(message), "10.0.0.2") == []
    if extra:
        assert engine().received(0.0, WALL_S, discover() + extra, "10.0.0.2") == []


@given(at=st.integers(0, 39), byte=st.integers(0, 255), hello=st.booleans())
def test_a_damaged_beacon_is_at_most_another_hint(at: int, byte: int, hello: bool) -> None:
    frame = bytearray(discover(hello=hello))
    frame[at % len(frame)] = byte
    for effect in engine().received(0.0, WALL_S, bytes(frame), "10.0.0.2"):
        assert isinstance(effect, Send) or effect.address.host == "10.0.0.2"


def test_the_own_echo_another_mesh_and_port_zero_mean_nothing() -> None:
    for data in (discover(sender=OWN), discover(key=OTHER_KEY), discover(port=0)):
        assert engine().received(0.0, WALL_S, data, "10.0.0.2") == []


def test_a_hello_is_not_answered() -> None:
    assert engine().received(0.0, WALL_S, discover(hello=True), "10.0.0.2") == [Sighted(Address("10.0.0.2", 9001))]


@given(gaps_s=st.lists(st.floats(0, 2), min_size=1, max_size=30))
def test_a_source_is_greeted_at_most_once_per_interval(gaps_s: list[float]) -> None:
    one, now_s, greeted_s = engine(), 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        if any(isinstance(effect, Send) for effect in one.received(now_s, WALL_S, discover(), "10.0.0.2")):
            greeted_s.append(now_s)
    assert greeted_s
    pauses = [later - earlier for earlier, later in itertools.pairwise(greeted_s)]
    assert all(pause_s >= CONFIG.hello_interval_min_s for pause_s in pauses)


def test_a_flood_of_forged_sources_fills_a_bounded_table_and_passes() -> None:
    one = engine()
    hellos = 0
    for n in range(10_000):
        effects = one.received(0.5 + n / 1e6, WALL_S, discover(port=1 + n % 60_000), f"10.0.{n // 250}.{n % 250}")
        hellos += sum(isinstance(effect, Send) for effect in effects)
    assert hellos <= 1024
    assert len(one._greeted_s) <= 1024
    later = one.received(0.6 + 2 * CONFIG.hello_interval_min_s, WALL_S, discover(), "10.9.9.9")
    assert any(isinstance(effect, Send) for effect in later)


@given(offset_s=st.floats(-3 * PERIOD_S, 3 * PERIOD_S), time_s=st.floats(1e6, 4e9))
def test_a_tag_is_accepted_two_hours_either_way_and_no_further(offset_s: float, time_s: float) -> None:
    ours = is_ours(tag(KEY, time_s), KEY, time_s + offset_s)
    periods = abs((time_s + offset_s) // PERIOD_S - time_s // PERIOD_S)
    assert ours == (periods <= 2)
    if abs(offset_s) <= 2 * PERIOD_S:
        assert ours


@given(time_s=st.floats(0, 4e9), periods=st.integers(1, 10_000))
def test_tags_of_different_hours_and_meshes_have_nothing_in_common(time_s: float, periods: int) -> None:
    one = tag(KEY, time_s)
    assert len(one) == TAG_BYTES
    assert one == tag(KEY, time_s // PERIOD_S * PERIOD_S)
    assert one != tag(KEY, time_s + periods * PERIOD_S)
    assert one != tag(OTHER_KEY, time_s)
    assert not is_ours(one, OTHER_KEY, time_s)


@given(candidate=st.binary(max_size=40))
def test_bytes_of_any_length_are_no_tag(candidate: bytes) -> None:
    assert not is_ours(candidate, KEY, WALL_S)


def test_a_beacon_fits_into_a_datagram() -> None:
    largest = BEACON.encode(Discover(b"\xff" * TAG_BYTES, b"\xff" * 8, 65_535))
    assert len(largest) <= BEACON_BYTES_MAX
