"""Options of a function."""

from __future__ import annotations

import msgspec
import pytest
from potluck.client.options import job_options_of, options
from potluck.overlay.errors import UsageError
from potluck.overlay.wire.control import JobOptions


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


@pytest.mark.parametrize("priority", [(1 << 63) - 1, -(1 << 63) + 1, "-7", True])
def test_whatever_is_accepted_the_wire_carries(priority: int | str) -> None:
    made = job_options_of(priority=priority, retries=(1 << 53) - 1, timeout=1e9, on="n" * 256)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=JobOptions) == made
