"""What counts as a clear answer."""

from __future__ import annotations

from typing import Any

import pytest
from potluck.simulations import promises
from potluck.simulations.programs import Deed, Diary


@pytest.mark.parametrize(
    "told,is_clear",
    [
        ({}, True),
        ({"error": "Unavailable"}, True),
        ({"error": "NotAllowed"}, False),
        ({"error": "NotAllowed", "of_two": True}, True),
        ({"error": "NotFound", "of_two": True}, False),
    ],
)
def test_a_refusal_is_an_answer_only_where_nobody_else_could_give_another(told: dict[str, Any], is_clear: bool) -> None:
    diary = Diary([Deed("set", "k", "n1", 0.0, b"v", **told)])
    assert is_clear == (not list(promises.unclear(diary)))
