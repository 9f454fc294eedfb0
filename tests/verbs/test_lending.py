"""What `pause` and `lend` say."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any, cast

import pytest
from potluck.verbs.lending import lending


@pytest.mark.parametrize(("pause", "then"), [(True, "this node lends again"), (False, "this node is paused again")])
def test_what_counts_and_is_not_remembered_is_said(monkeypatch: pytest.MonkeyPatch, pause: bool, then: str) -> None:
    told = {"lends": not pause, "reason": "paused" if pause else "", "paused": pause, "unwritten": "the disk is full"}
    monkeypatch.setattr("potluck.verbs.lending.connected", nullcontext)
    monkeypatch.setattr("potluck.verbs.lending.ask_json", lambda *_: told)
    answer = lending(cast(Any, None), pause=pause)
    assert answer.exit_code == 0
    assert "not remembered (the disk is full)" in answer.notes and then in answer.notes
    told["unwritten"] = ""
    assert lending(cast(Any, None), pause=pause).notes == ""
