"""How much is tried: `ci` is quick and repeats itself exactly, `nightly` looks further every time."""

from __future__ import annotations

import os

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
