"""A scenario by name: run it, judge it, and answer as `potluck sim --json` prints it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final

import trio

from ..overlay.errors import UsageError
from . import agreement, determinism, gossip, suspicion
from .checks import Check
from .churn import ChurnScenario
from .churn import judge as judge_churn
from .jobs import JobsScenario
from .join import JoinScenario
from .join import judge as judge_join
from .loss import LossScenario
from .loss import judge as judge_loss
from .overlays import Overlays
from .registers import RegistersScenario
from .registers import judge as judge_registers
from .verdict import judge
from .world import World


@dataclass(frozen=True)
class Settings:
    nodes: int
    seed: int
    kill: float


@dataclass(frozen=True)
class Result:
    checks: list[Check]
    figures: dict[str, object]
    virtual_s: float
    event_log: list[str]
    event_log_sha256: str


Scenario = Callable[[Settings], Awaitable[Result]]


def _on_nodes(scenario_type: Callable[..., Any], verdict: Callable[..., Any]) -> Scenario:
    """A scenario that whole nodes play."""

    async def play(settings: Settings) -> Result:
        async with trio.open_nursery() as nursery:
            world = World(settings.seed, nursery)
            scenario = scenario_type(world, settings.seed, settings.nodes, settings.kill)
            await scenario.play()
            checks, figures = verdict(world, scenario)
            virtual_s, lines, digest = trio.current_time(), world.log.lines(), world.log.sha256
            nursery.cancel_scope.cancel()
        return Result(checks, figures, virtual_s, lines, digest)

    return play


def _on_overlays(
    make: Callable[[Overlays, Settings], Any], verdict: Callable[..., Any], *, holding_records: bool
) -> Scenario:
    """A scenario that overlays alone play."""

    async def play(settings: Settings) -> Result:
        async with trio.open_nursery() as nursery:
            world = Overlays(settings.seed, nursery, holding_records=holding_records)
            scenario = make(world, settings)
            await scenario.play()
            checks, figures = verdict(world, scenario)
            virtual_s, lines, digest = trio.current_time(), world.log.lines(), world.log.sha256
            nursery.cancel_scope.cancel()
        return Result(checks, figures, virtual_s, lines, digest)

    return play


def _join(world: Overlays, settings: Settings) -> JoinScenario:
    return JoinScenario(world, settings.seed, settings.nodes)


def _churn(world: Overlays, settings: Settings) -> ChurnScenario:
    return ChurnScenario(world, settings.seed, settings.nodes, settings.kill)


async def _agreement(settings: Settings) -> Result:
    """Nothing in it waits: engines only."""
    checks, figures = agreement.play(settings.nodes, settings.seed)
    return Result(checks, figures, 0.0, [], hashlib.sha256(repr((checks, figures)).encode()).hexdigest())


async def _suspicion(settings: Settings) -> Result:
    """Engines only, each of its three runs this long."""
    checks, figures, digest = suspicion.play(settings.nodes, settings.seed)
    return Result(checks, figures, suspicion.PLAYED_S, [], digest)


async def _gossip(settings: Settings) -> Result:
    checks, figures, virtual_s, digest = gossip.play(settings.nodes, settings.seed)
    return Result(checks, figures, virtual_s, [], digest)


SCENARIOS: Final[dict[str, Scenario]] = {
    "jobs": _on_nodes(JobsScenario, judge),
    "loss": _on_nodes(LossScenario, judge_loss),
    "registers": _on_nodes(RegistersScenario, judge_registers),
    "agreement": _agreement,
    "join": _on_overlays(_join, judge_join, holding_records=False),
    "churn": _on_overlays(_churn, judge_churn, holding_records=True),
    "suspicion": _suspicion,
    "gossip": _gossip,
}
NODES_MAX: Final = dict.fromkeys(SCENARIOS, 250) | {"join": 10_000, "churn": 10_000, "gossip": 1000}
"""Overlays alone are lighter than whole nodes."""


def run_scenario(name: str, *, nodes: int, seed: int, kill: float) -> dict[str, object]:
    """Raises UsageError for a scenario that does not exist or settings it does not take."""
    answer, _ = run_with_log(name, nodes=nodes, seed=seed, kill=kill)
    return answer


def run_with_log(name: str, *, nodes: int, seed: int, kill: float) -> tuple[dict[str, object], list[str]]:
    """The answer, and the log of events line by line."""
    scenario = SCENARIOS.get(name)
    if scenario is None:
        raise UsageError(f"no scenario {name!r}: there is {', '.join(SCENARIOS)}")
    if not 1 <= nodes <= NODES_MAX[name]:
        raise UsageError(f"{nodes} nodes: scenario {name} takes 1 to {NODES_MAX[name]}")
    if not 0 <= kill <= 1:
        raise UsageError(f"kill {kill:g}: a fraction from 0 to 1")
    began_s = time.perf_counter()
    result = determinism.run(scenario, Settings(nodes, seed, kill), seed=seed)
    wall_s = time.perf_counter() - began_s
    answer: dict[str, object] = {
        "scenario": name,
        "nodes": nodes,
        "seed": seed,
        "held": all(check.held for check in result.checks),
        "checks": [check.as_dict() for check in result.checks],
        "figures": result.figures,
        "virtual_s": round(result.virtual_s, 6),
        "wall_s": round(wall_s, 3),
        "event_log_sha256": result.event_log_sha256,
        "replay": f"potluck sim {name} --nodes {nodes} --seed {seed} --kill {kill:g}",
    }
    return answer, result.event_log
