"""What a running node says, in one line each."""

from __future__ import annotations

import pytest
from potluck.verbs.announcing import event_line

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
