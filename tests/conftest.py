"""How much is tried: `ci` is quick and repeats itself exactly, `nightly` looks further every time. And no fault that a
node has gone on after is overlooked."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.filter_too_much]

settings.register_profile(
    "ci",
    max_examples=40,
    stateful_step_count=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "nightly",
    max_examples=2000,
    stateful_step_count=100,
    deadline=None,
    database=None,
    print_blob=True,
    suppress_health_check=_SLOW,
)
settings.register_profile(
    "campaign", settings.get_profile("nightly"), max_examples=8_500, stateful_step_count=30
)  # a hundred thousand stories over all state machines: HYPOTHESIS_PROFILE=campaign pytest -k runTest --timeout 0
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


@pytest.fixture(autouse=True)
def no_faults(request: pytest.FixtureRequest) -> Iterator[None]:
    """`overlay.boundary` keeps a node going: what it has logged fails the test, unless that is marked as `faulty`."""
    faults: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: faults.append(logging.Formatter().format(record))  # type: ignore[method-assign]
    logger = logging.getLogger("potluck.faults")
    logger.addHandler(handler)
    yield
    logger.removeHandler(handler)
    assert not faults or request.node.get_closest_marker("faulty"), "\n".join(faults)
