"""Options of a function."""

from __future__ import annotations

import pytest
from potluck.client.options import job_options_of, options
from potluck.overlay.errors import UsageError


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
    "wrong", [{"timeout": 0}, {"timeout": float("inf")}, {"timeout": -1}, {"retries": -1}, {"priority": "urgent"}]
)
def test_what_makes_no_sense_is_refused_at_once(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        job_options_of(**wrong)  # type: ignore[arg-type]
