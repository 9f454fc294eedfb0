"""What a running node says, in one line each."""

from __future__ import annotations

import errno
from collections.abc import Mapping

import pytest
from potluck.verbs.announcing import Announcer, event_line

WHO = {"node": "bee", "node_id": "ab" * 20}


@pytest.mark.parametrize(
    ("event", "words"),
    [
        ({"event": "joined", **WHO}, "joined: bee (abababababab)"),
        ({"event": "suspected", **WHO}, "suspected: bee (abababababab)"),
        ({"event": "cleared", **WHO}, "cleared: bee (abababababab) is there after all"),
        ({"event": "clock", "error_s": 7.2}, "clock: this machine's clock is 7 s ahead of the others'"),
        ({"event": "clock", "error_s": -3600.0}, "3600 s behind the others'"),
        ({"event": "clock", "error_s": 0}, "agrees with the others' again"),
        ({"event": "banned", **WHO, "mesh": "5eed"}, "shut out of mesh 5eed. Ask who let you in"),
        ({"event": "banned", **WHO, "mesh": "5eed"}, "`potluck join CODE --anew`"),
    ],
)
def test_an_event_is_one_line_that_says_what_has_happened(event: dict[str, object], words: str) -> None:
    line = event_line(event)
    assert words in line
    assert "\n" not in line


def test_what_is_not_taken_is_dropped_and_that_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    is_full, taken = True, []

    def show(_event: Mapping[str, object], line: str) -> None:
        if is_full:
            raise OSError(errno.ENOSPC, "No space left on device")
        taken.append(line)

    say = Announcer(show)
    say({}, "one")
    say({}, "two")
    (record,) = caplog.records
    assert "No space left on device" in record.getMessage()
    is_full = False
    say({}, "three")
    assert taken == ["three"]
