"""What was written by a wrong clock is as old for everybody as it is."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.clock import time_of, version_at
from potluck.overlay.dht.attendance import Attendance
from potluck.overlay.dht.records import Draft, place_of, refusal, sign
from potluck.overlay.dht.restating import restated
from potluck.overlay.dht.store import RecordStore
from potluck.simulations.store import VirtualDisk, VirtualStore

from ...strategies.identities import key

NOW_S = 1_700_000_000.0
AHEAD_MAX_S = 60.0
ages_s = st.floats(0, 86_400)


@given(error_s=st.sampled_from([3600.0, -3600.0, 1e6]), ages=st.lists(ages_s, min_size=1, max_size=5), lives_s=ages_s)
def test_restated_records_keep_their_order_and_age_and_everybody_takes_them(
    error_s: float, ages: list[float], lives_s: float
) -> None:
    written = [NOW_S - age_s for age_s in ages]
    wrong = [
        sign(Draft("mem", b"k", b"v", version_at(at_s + error_s), NOW_S + error_s + 10 + lives_s), key(1))
        for at_s in written
    ]
    right = [restated(record, -error_s, key(1)) for record in wrong]
    for at_s, before, after in zip(written, wrong, right, strict=True):
        assert refusal(after, NOW_S, AHEAD_MAX_S) is None
        assert abs(time_of(after.version) - at_s) < 0.01
        assert abs(after.expires_at_s - (NOW_S + 10 + lives_s)) < 0.01
        assert after.version & 0xFFFF == before.version & 0xFFFF
    assert sorted(range(len(ages)), key=lambda n: wrong[n].version) == sorted(
        range(len(ages)), key=lambda n: right[n].version
    )


def test_what_lasts_lasts_and_no_version_falls_below_one() -> None:
    record = sign(Draft("mem", b"k", b"v", version_at(5.0), agreed=True), key(1))
    moved = restated(record, -3600.0, key(1))
    assert (moved.version, moved.expires_at_s, moved.agreed) == (1, math.inf, True)


def test_a_restated_record_replaces_the_one_it_was_made_of_and_no_other_and_lasts() -> None:
    disk = VirtualDisk()
    store = RecordStore(VirtualStore(disk, lambda: 0.0), AHEAD_MAX_S)
    wrong = sign(Draft("mem", b"k", b"v", version_at(NOW_S + 3600)), key(1))
    assert store.put(NOW_S + 3600, wrong) is None
    right = restated(wrong, -3600.0, key(1))
    store.replace(wrong, right)
    assert store.get(NOW_S, place_of(wrong)) == [right]
    assert time_of(version_at(NOW_S)) == time_of(store.newest())
    later = sign(Draft("mem", b"k", b"w", version_at(NOW_S + 5)), key(2))
    assert store.put(NOW_S + 5, later) is None
    store.replace(right, restated(right, -10.0, key(1)))
    assert store.get(NOW_S, place_of(wrong)) == [later]


def test_what_was_written_since_the_node_was_last_in_company_is_by_its_own_clock_over_as_many_lives_as_that_takes() -> (
    None
):
    store = VirtualStore(VirtualDisk(), lambda: 0.0)

    def next_life(newest: int) -> Attendance:
        attendance = Attendance(store)
        attendance.load(newest)
        return attendance

    assert next_life(0).met_version == 0
    second = next_life(500)
    assert second.met_version == 0, "it was alone"
    second.met()
    assert second.met_version == 0, "still, should its time be moved in this life"
    assert next_life(900).met_version == 900
    assert next_life(1000).met_version == 900
