"""What comes by value knows what it is at home."""

from __future__ import annotations

import fractions
import gc
import json

import pytest
from potluck.overlay.wire.origins import at_home, came, is_sent, named, origin_of


def test_what_came_has_the_origin_that_was_said_of_it_and_what_was_made_here_has_none() -> None:
    made = came(("7", "there", "Point"), type, ("Point", (), {}))
    assert made.__name__ == "Point"
    assert origin_of(made) == ("7", "there", "Point")
    assert origin_of(type("Point", (), {})) is None
    assert at_home("7", "there", "Point") is made


def test_a_class_that_cannot_be_hashed_has_none() -> None:
    class Comparing(type):
        def __eq__(cls, other: object) -> bool:
            return False

        __hash__ = None  # type: ignore[assignment]

    assert origin_of(Comparing("Compared", (), {})) is None


def test_what_was_sent_is_found_by_its_id_whatever_has_its_name_and_is_not_kept_alive() -> None:
    first, second = type("Sent", (), {}), type("Sent", (), {})
    for mark, sent in (("1", first), ("2", second)):
        is_sent(sent, (mark, "nowhere", "Sent"))
    assert at_home("1", "nowhere", "Sent") is first and at_home("2", "nowhere", "Sent") is second
    del first, sent
    gc.collect()
    with pytest.raises(LookupError, match=r"no nowhere.Sent any more"):
        at_home("1", "nowhere", "Sent")


def test_a_name_finds_what_it_stands_for_in_a_module_that_is_here() -> None:
    assert at_home("", "json", "JSONDecoder.decode") is json.JSONDecoder.decode
    assert named("json", "nothing") is named("nowhere", "nothing") is named("json", "dumps.<locals>.nothing") is None
    assert named("fractions", "Fraction.from_float") is vars(fractions.Fraction)["from_float"].__func__
