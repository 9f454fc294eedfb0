"""An exception described here reads the same there, as far as it is data."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.overlay.errors import RemoteProtocolError
from potluck.overlay.wire import values
from potluck.overlay.wire.raised import BYTES_MAX, PARTS_MAX, Raised, described, raised_of

PLAIN = st.none() | st.booleans() | st.integers() | st.text(max_size=20) | st.tuples(st.integers())
ERRORS = st.builds(ValueError, PLAIN, PLAIN) | st.builds(KeyError, PLAIN) | st.builds(OSError, st.text())
GROUPS = st.recursive(
    ERRORS, lambda inner: st.builds(ExceptionGroup, st.text(max_size=10), st.lists(inner, min_size=1, max_size=4))
)


class Odd(Exception):
    def __init__(self, code: int, *, strict: bool) -> None:
        super().__init__(f"code {code}")
        self.code, self.strict, self.secret = code, strict, object()


class Remade(Exception):
    def __init__(self, left: int, right: int) -> None:
        super().__init__(f"{left}-{right}")
        self.sides = (left, right)

    def __reduce__(self) -> Any:
        return type(self), self.sides


class Hostile(Exception):
    def __reduce__(self) -> Any:
        raise RuntimeError("no")

    def __str__(self) -> str:
        raise RuntimeError("never")


@given(GROUPS)
def test_whatever_is_data_survives_the_wire(error: Exception) -> None:
    error.add_note("a note")
    raised = described(error)
    there = raised_of(values.decode(values.encode(raised.plain())))
    assert there == raised
    assert there.attributes["__notes__"] == ["a note"]


def test_attributes_that_are_data_go_along_and_others_stay() -> None:
    raised = described(Odd(7, strict=True))
    assert raised.arguments == ("code 7",)
    assert raised.attributes == {"code": 7, "strict": True}


def test_a_class_may_say_what_it_is_made_from() -> None:
    assert described(Remade(1, 2)).arguments == (1, 2)
    assert described(FileNotFoundError(2, "gone", "/the/file")).arguments == (2, "gone", "/the/file")
    assert described(ImportError("no", name="that")).attributes == {"name": "that"}


def test_what_is_too_long_or_too_many_stays_behind() -> None:
    assert described(ValueError("x" * BYTES_MAX)).arguments is None
    assert described(ExceptionGroup("many", [ValueError()] * (PARTS_MAX + 1))).parts == ()


def test_an_exception_that_resists_is_described_all_the_same() -> None:
    raised = described(Hostile(1))
    assert raised.arguments == (1,)
    assert "cannot be printed" in raised.message


@pytest.mark.parametrize(
    "data", [None, (), ("x", "y", None, {}), ("x", 1, None, {}, ()), ("x", "y", [], {}, ()), ("x", "y", None, {}, (1,))]
)
def test_what_describes_nothing_is_refused(data: object) -> None:
    with pytest.raises(RemoteProtocolError):
        raised_of(data)


def test_names_of_the_language_are_not_set_by_others() -> None:
    assert raised_of(("x", "y", None, {"__class__": 1, 2: 3, "fine": 4}, ())) == Raised("x", "y", None, {"fine": 4})
