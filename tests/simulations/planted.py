"""Bugs that are planted in nodes, so that the checks of scenarios have something to find."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from potluck.simulations.run import run_scenario
from potluck.simulations.sandbox import VirtualWorker

Bug = Callable[[Any], Any]
"""Makes of a method what stands in its place."""


def broken_checks(
    monkeypatch: pytest.MonkeyPatch, owner: type, name: str, bug: Bug, scenario: str, **settings: Any
) -> set[str]:
    """Names of the checks that do not hold with it."""
    monkeypatch.setattr(owner, name, bug(getattr(owner, name)))
    checks: Any = run_scenario(scenario, **settings)["checks"]
    return {one["name"] for one in checks if not one["held"]}


def lying(original: Any) -> Any:
    return lambda self, task, clock: [0, 0, 0]


def forgetful(original: Any) -> Any:
    return lambda self, now_s, record: None


def undying(original: Any) -> Any:
    async def kill(self: VirtualWorker) -> None:
        self._ended.set()
        self._changed.ring()

    return kill
