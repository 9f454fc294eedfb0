"""Hours of the week, as an owner reads them off the wall."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.lending.hours import DAYS, parse
from potluck.overlay.errors import ConfigError

WEEK = [datetime(2026, 11, 2) + timedelta(minutes=minute) for minute in range(0, 7 * 24 * 60, 7)]
"""From a Monday on."""


def shown(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


days = st.sets(st.integers(0, 6), min_size=1)
spans = st.tuples(days, st.integers(0, 24 * 60 - 1), st.integers(0, 24 * 60))


@given(st.lists(spans, min_size=1, max_size=3))
def test_a_minute_is_lent_if_some_span_that_began_on_its_day_has_it(wanted: list[tuple[set[int], int, int]]) -> None:
    """The model walks each span from its beginning, a minute at a time."""
    text = ", ".join(f"{','.join(DAYS[day] for day in sorted(on))} {shown(a)}-{shown(b)}" for on, a, b in wanted)
    lent = set()
    for on, begin, end in wanted:
        for day in on:
            minute = begin
            while True:
                lent.add((day * 1440 + minute) % (7 * 1440))
                minute += 1
                if minute % 1440 == end % 1440:
                    break
    hours = parse(text)
    for wall in WEEK:
        assert hours.are_on(wall) == (wall.weekday() * 1440 + wall.hour * 60 + wall.minute in lent), (text, wall)


def test_nights_go_on_into_the_next_day() -> None:
    night = parse("Fri 22:00-07:00")
    assert [
        night.are_on(datetime(2026, 11, day, hour)) for day, hour in ((6, 21), (6, 22), (7, 6), (7, 7), (8, 3))
    ] == [
        False,
        True,
        True,
        False,
        False,
    ]
    weekdays = parse("mon-fri 22:00-07:00, sat-sun 00:00-24:00")
    assert all(weekdays.are_on(datetime(2026, 11, 7, hour)) for hour in range(24))
    assert parse("sun-mon 1:00-2:00").are_on(datetime(2026, 11, 2, 1, 30))


@given(st.integers(0, 3 * 24 * 60))
def test_when_clocks_are_set_the_wall_is_right(minute: int) -> None:
    """In that night one hour is missing, or there twice."""
    hours = parse("22:00-07:00")
    for before in (datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)):
        wall = (before + timedelta(minutes=minute)).astimezone(ZoneInfo("Europe/Berlin"))
        assert hours.are_on(wall) == (wall.hour >= 22 or wall.hour < 7)


@pytest.mark.parametrize(
    "text",
    ["", "22-7", "22:00", "25:00-26:00", "24:00-01:00", "10:60-11:00", "xxx 1:00-2:00", "1:00-2:00,", "mon 1:00"],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="write them"):
        parse(text)
