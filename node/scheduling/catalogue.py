"""Policies by name, with their settings: `rr`, `rr:time_quantum_ms=100`, `mlfq:time_quanta_ms=50/100,aging_ms=900`.

Others come from installed packages, by the entry point `potluck.policies`: a class that takes its settings as keyword
arguments and passes `tests/node/scheduling/policy_suite.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from ...overlay.errors import ConfigError
from .fair import FairShare
from .fcfs import FirstCome
from .mlfq import FeedbackQueue
from .policy import Policy
from .priority import ByPriority
from .rr import RoundRobin
from .sjf import ShortestFirst

GROUP: Final = "potluck.policies"
MS_MAX: Final = 3_600_000
LEVELS_MAX: Final = 16

Make = Callable[..., Policy[Any]]

OURS: Final[Mapping[str, Make]] = {
    "fcfs": FirstCome,
    "sjf": ShortestFirst,
    "priority": ByPriority,
    "rr": RoundRobin,
    "mlfq": FeedbackQueue,
    "fair": FairShare,
}


def make(spec: str) -> Policy[Any]:
    """Raises ConfigError for what cannot be had."""
    name, _colon, rest = spec.partition(":")
    settings = dict(_setting(spec, part) for part in rest.split(",") if part)
    try:
        return _find(name)(**settings)
    except TypeError:
        raise ConfigError(f"policy {spec!r}: {name} has no such setting") from None


def _find(name: str) -> Make:
    if (found := OURS.get(name)) is not None:
        return found
    from importlib.metadata import entry_points  # hardly anybody needs it, and it takes a while to import

    others = {point.name: point for point in entry_points(group=GROUP)}
    if name not in others:
        raise ConfigError(f"policy {name!r}: one of {', '.join([*OURS, *others])}")
    try:
        plugged: Make = others[name].load()
    except (ImportError, AttributeError) as error:
        raise ConfigError(f"policy {name!r} of {others[name].value}: {error}") from None
    return plugged


def _setting(spec: str, part: str) -> tuple[str, Any]:
    name, equals, text = part.partition("=")
    if not equals or not name:
        raise ConfigError(f"policy {spec!r}: write settings NAME=VALUE, with commas between them")
    is_time = name.endswith("_ms")
    if text in ("true", "false") and not is_time:
        return name, text == "true"
    values = [int(one) if one.isascii() and one.isdecimal() else 0 for one in text.split("/")[: LEVELS_MAX + 1]]
    if len(values) > LEVELS_MAX or not all(1 <= value <= MS_MAX for value in values):
        kinds = "" if is_time else "true, false, or "
        raise ConfigError(f"policy {spec!r}: {name} is {kinds}whole numbers from 1 to {MS_MAX}")
    return name, values if name.endswith("quanta_ms") else values[0]
