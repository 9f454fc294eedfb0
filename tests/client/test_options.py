"""Options of a function."""

from __future__ import annotations

import functools
import inspect
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.options import Optioned, job_options_of, lifted, options
from potluck.overlay.errors import UsageError
from potluck.overlay.wire.control import TO_NODE, JobOptions, OpenJob
from potluck.overlay.wire.framing import HEADER_BYTES


def test_a_wrapped_function_is_still_the_function() -> None:
    @options(timeout=5, priority="high")
    def double(number: int) -> int:
        """Twice."""
        return 2 * number

    assert double(3) == 6
    assert double.__name__ == "double"  # type: ignore[attr-defined]
    assert double.options.timeout_s == 5.0
    assert double.options.priority > job_options_of().priority > job_options_of(priority="low").priority


@pytest.mark.parametrize(
    "wrong",
    [
        *({"timeout": timeout} for timeout in (0, -1, float("inf"), float("nan"), 1e300, 10**400, "5")),
        *({"retries": retries} for retries in (-1, 1 << 53, 1.5, "1")),
        *({"priority": priority} for priority in ("urgent", 1 << 63, -(1 << 64), str(1 << 70), 1.5, None, ["high"])),
        *({"on": name} for name in ("n" * 257, 7)),
        *({flag: "no"} for flag in ("confidential", "network", "at_most_once", "cache")),
    ],
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        job_options_of(**wrong)  # type: ignore[arg-type]


ODD = (
    *(None, True, "yes", "\ud800", "", b"x", 0, 1, -1, 1.5, 1 << 70, 10**400, math.nan, math.inf, 1e300),
    [],
    ["x"],
    {},
    (1,),
)
"""What somebody might pass by mistake."""


@given(
    given=st.dictionaries(st.sampled_from(sorted(inspect.signature(job_options_of).parameters)), st.sampled_from(ODD))
)
def test_a_mistake_is_refused_here_and_not_by_the_node(given: dict[str, Any]) -> None:
    """A node ends the connection of a program that says what it cannot read, and everybody's tasks with it."""
    try:
        made = job_options_of(**given)
    except UsageError:
        return
    message = OpenJob(1, made)
    assert TO_NODE.decode(TO_NODE.encode(message)[HEADER_BYTES:]) == message


class Shop:
    @options(timeout=5)
    def price(self, pieces: int) -> int:
        return 3 * pieces


def test_a_method_has_its_functions_options_and_its_own_instance() -> None:
    bound = Shop().price
    assert bound(2) == 6
    assert bound.options.timeout_s == 5.0
    assert isinstance(Shop.price, Optioned)


def test_options_of_a_function_that_has_some_are_both_and_the_outer_ones_hold() -> None:
    inner = options(timeout=5, retries=7, env={"A": "1"})(abs)
    for outer in (options(retries=1)(inner), options(retries=1)(functools.partial(inner, -3))):
        assert outer.function() == 3 if isinstance(outer.function, functools.partial) else outer.function is abs
        assert (outer.options.timeout_s, outer.options.retries) == (5.0, 1)
        assert outer.setting == inner.setting
    with pytest.raises(UsageError, match="one call"):
        options(env={"B": "2"})(inner)


@pytest.mark.parametrize(
    ("outer", "inner"),
    [
        ({"cache": True}, {"confidential": True}),
        ({"network": True}, {"confidential": True}),
        ({"at_most_once": True}, {"retry_errors": 3}),
        ({"at_most_once": True}, {"retries": 7}),
    ],
)
def test_what_does_not_go_together_is_refused_however_it_is_said(outer: dict[str, Any], inner: dict[str, Any]) -> None:
    for one, other in ((outer, inner), (inner, outer)):
        with pytest.raises(UsageError):
            options(**one)(options(**other)(abs))
    with pytest.raises(UsageError):
        options(**outer, **inner)


def test_what_a_node_has_to_have_is_said_whole_by_the_outer_options() -> None:
    both = options(needs={"cpu": 2})(options(needs={"kind": "x"})(abs)).options
    assert (both.needs.cpus, both.needs_kind) == (2, "")
    assert Shop.price is Shop.price
    shop = Shop()
    assert shop.price == shop.price
    assert hash(shop.price) == hash(shop.price)


def test_a_part_of_a_function_has_its_options() -> None:
    part = lifted(functools.partial(functools.partial(options(timeout=5)(pow), 2), mod=5))
    assert isinstance(part, Optioned)
    assert part.options.timeout_s == 5.0
    assert part(3) == 3
    assert lifted(functools.partial(pow, 2)).func is pow  # type: ignore[attr-defined]


@pytest.mark.parametrize("priority", [(1 << 63) - 1, -(1 << 63) + 1, "-7", True])
def test_whatever_is_accepted_the_wire_carries(priority: int | str) -> None:
    made = job_options_of(priority=priority, retries=(1 << 53) - 1, timeout=1e9, on="n" * 256)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=JobOptions) == made
