"""Options of a function."""

from __future__ import annotations

import inspect
import math
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.client.options import job_options_of, options
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
    ],
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        job_options_of(**wrong)  # type: ignore[arg-type]


ODD = (*(None, True, "yes", "", b"x", 0, 1, -1, 1.5, 1 << 70, 10**400, math.nan, math.inf, 1e300), [], ["x"], {}, (1,))
"""What somebody might pass by mistake."""


@given(
    given=st.dictionaries(st.sampled_from(sorted(inspect.signature(job_options_of).parameters)), st.sampled_from(ODD))
)
def test_a_mistake_is_refused_here_and_not_by_the_node(given: dict[str, Any]) -> None:
    """A node ends the connection of a program that says what it cannot read, and everybody's tasks with it."""
    try:
        made = job_options_of(**given)
    except (UsageError, TypeError):
        return
    message = OpenJob(1, made)
    assert TO_NODE.decode(TO_NODE.encode(message)[HEADER_BYTES:]) == message


@pytest.mark.parametrize("priority", [(1 << 63) - 1, -(1 << 63) + 1, "-7", True])
def test_whatever_is_accepted_the_wire_carries(priority: int | str) -> None:
    made = job_options_of(priority=priority, retries=(1 << 53) - 1, timeout=1e9, on="n" * 256)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=JobOptions) == made
