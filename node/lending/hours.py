"""Hours of the week in which a machine is lent, as the clock on its owner's wall shows them.

`22:00-07:00`, `mon-fri 22:00-07:00, sat-sun 00:00-24:00`, `fri,sat 20:00-02:00`: days are those on which a span begins.
One whose end is not later than its beginning goes on into the next day. Nothing is reckoned from one moment to another:
it is asked what the wall shows now, so that a night in which clocks are set has the hours that its owner sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final, NamedTuple

from ...overlay.errors import ConfigError

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES: Final = 24 * 60
_PART: Final = re.compile(
    r"(?:(?P<days>[a-z]{3}(?:-[a-z]{3})?(?:,[a-z]{3}(?:-[a-z]{3})?)*) +)?"
    r"(?P<begin>\d\d?:\d\d) ?- ?(?P<end>\d\d?:\d\d) *, *"
)


class Span(NamedTuple):
    days: frozenset[int]
    """On which it begins; 0 is Monday."""
    begin: int
    """Minute of the day."""
    end: int
    """Later than the beginning; beyond the day's end it is tomorrow."""

    def holds(self, day: int, minute: int) -> bool:
        begun_today = day in self.days and self.begin <= minute < self.end
        begun_before = (day - 1) % 7 in self.days and minute + _DAY_MINUTES < self.end
        return begun_today or begun_before


class Hours(NamedTuple):
    text: str
    spans: tuple[Span, ...]

    def are_on(self, wall: datetime) -> bool:
        return any(span.holds(wall.weekday(), wall.hour * 60 + wall.minute) for span in self.spans)


def parse(text: str) -> Hours:
    """Raises ConfigError."""
    rest = f"{text.strip().lower()},"
    spans: list[Span] = []
    parts: list[str] = []
    while rest:
        found = _PART.match(rest)
        if found is None:
            raise _wrong(text)
        spans.append(_span(text, found))
        parts.append(found[0].rstrip(", "))
        rest = rest[found.end() :]
    return Hours(", ".join(parts), tuple(spans))


def _span(text: str, found: re.Match[str]) -> Span:
    begin, end = _minute(text, found["begin"]), _minute(text, found["end"])
    if begin == _DAY_MINUTES:
        raise _wrong(text)
    days = frozenset(_days(text, found["days"])) if found["days"] else frozenset(range(7))
    return Span(days, begin, end if end > begin else end + _DAY_MINUTES)


def _minute(text: str, shown: str) -> int:
    hour, minute = map(int, shown.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise _wrong(text)
    return hour * 60 + minute


def _days(text: str, named: str) -> Iterator[int]:
    for one in named.split(","):
        first, _, last = one.partition("-")
        try:
            begin, end = DAYS.index(first), DAYS.index(last or first)
        except ValueError:
            raise _wrong(text) from None
        yield from ((begin + step) % 7 for step in range((end - begin) % 7 + 1))


def _wrong(text: str) -> ConfigError:
    return ConfigError([f"hours {text!r}: write them 22:00-07:00, or mon-fri 22:00-07:00, sat-sun 00:00-24:00"])
