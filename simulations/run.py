"""A scenario by name: run it, judge it, and answer as `potluck sim --json` prints it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Final, TypedDict, Unpack

import msgspec
import trio

from ..overlay.errors import UsageError
from . import agreement, determinism, gossip, mixed, partition, succession, suspicion
from .checks import Check
from .churn import ChurnScenario
from .churn import judge as judge_churn
from .jobs import JobsScenario
from .join import JoinScenario
from .join import judge as judge_join
from .loss import LossScenario
from .loss import judge as judge_loss
from .mixed import MixedScenario
from .overlays import Overlays
from .partition import PartitionScenario
from .picture import Story, page, story_of
from .programs import Deed
from .registers import RegistersScenario
from .registers import judge as judge_registers
from .succession import SuccessionScenario
from .verdict import judge
from .world import World

NODES: Final = 20
KILL: Final = 0.1
NODES_MAX: Final = 250
OVERLAYS_MAX: Final = 10_000
"""Overlays alone are lighter than whole nodes."""
GOSSIP_MAX: Final = 1000
PICTURE_MAX: Final = NODES_MAX
HOURS_MAX: Final = 10_000


class Settings(msgspec.Struct, frozen=True):
    """What a scenario is told. `hours` of virtual time, how many `nodes`, and which fraction of them to `kill`, are the
    scenario's own where nothing is said."""

    seed: int = 1
    nodes: int = 0
    kill: float | None = None
    hours: float = 0.0
    loss: float = 0.0
    duplicate: float = 0.0

    def faults(self) -> Iterator[str]:
        if not 0 <= self.hours <= HOURS_MAX:
            yield f"{self.hours:g} hours: up to {HOURS_MAX}"
        for name in ("kill", "loss", "duplicate"):
            if (value := getattr(self, name)) is not None and not 0 <= value <= 1:
                yield f"{name} {value:g}: a fraction from 0 to 1"

    def shown(self) -> str:
        """As options of the command."""
        options = f"--nodes {self.nodes} --seed {self.seed}"
        if self.kill is not None:
            options += f" --kill {self.kill:g}"
        for name in ("hours", "loss", "duplicate"):
            if value := getattr(self, name):
                options += f" --{name} {value:g}"
        return options


class Result(msgspec.Struct, frozen=True):
    checks: list[Check]
    figures: dict[str, object]
    virtual_s: float
    event_log: list[str]
    event_log_sha256: str
    story: Story | None = None
    """For its picture."""


class Scenario(msgspec.Struct, frozen=True):
    play: Callable[[Settings], Awaitable[Result]]
    nodes: Callable[[int], int] = lambda seed: NODES
    """How many, where nothing else is said."""
    nodes_max: int = NODES_MAX
    nodes_min: int = 1
    takes_hours: bool = False
    kills: bool = False
    """Machines die in it, as many as are wanted."""
    whole: bool = False
    """Played by whole nodes: messages may go astray."""
    engines: bool = False
    """Played by engines alone, of which there is no picture."""

    def faults(self, name: str, settings: Settings) -> Iterator[str]:
        if settings.nodes and not self.nodes_min <= settings.nodes <= self.nodes_max:
            yield f"{settings.nodes} nodes: scenario {name} takes {self.nodes_min} to {self.nodes_max}"
        if settings.kill is not None and not self.kills:
            yield f"in scenario {name} no machine is killed: leave out --kill"
        if settings.hours and not self.takes_hours:
            yield f"scenario {name} takes as long as it takes: leave out --hours"
        if (settings.loss or settings.duplicate) and not self.whole:
            yield f"in scenario {name} no message goes astray: leave out --loss and --duplicate"


def _on_nodes(
    make: Callable[[World, Settings], Any],
    verdict: Callable[..., Any],
    deeds: Callable[[Any], list[Deed]] = lambda scenario: [],
) -> Callable[..., Awaitable[Result]]:
    """A scenario that whole nodes play. `deeds`: what programs did, for the picture."""

    async def play(settings: Settings) -> Result:
        async with trio.open_nursery() as nursery:
            world = World(settings.seed, nursery, loss=settings.loss, duplicate=settings.duplicate)
            scenario = make(world, settings)
            await scenario.play()
            checks, figures = verdict(world, scenario)
            virtual_s, lines, digest = trio.current_time(), world.log.lines(), world.log.sha256
            story = story_of(list(world.machines.values()), world.log.events, virtual_s, deeds(scenario))
            nursery.cancel_scope.cancel()
        return Result(checks, figures, virtual_s, lines, digest, story)

    return play


def _on_overlays(
    make: Callable[[Overlays, Settings], Any], verdict: Callable[..., Any], *, holding_records: bool
) -> Callable[..., Awaitable[Result]]:
    """A scenario that overlays alone play."""

    async def play(settings: Settings) -> Result:
        async with trio.open_nursery() as nursery:
            world = Overlays(settings.seed, nursery, holding_records=holding_records)
            scenario = make(world, settings)
            await scenario.play()
            checks, figures = verdict(world, scenario)
            virtual_s, lines, digest = trio.current_time(), world.log.lines(), world.log.sha256
            story = story_of(world.everyone, world.log.events, virtual_s, scenario.outcome.deeds)
            nursery.cancel_scope.cancel()
        return Result(checks, figures, virtual_s, lines, digest, story)

    return play


def _join(world: Overlays, settings: Settings) -> JoinScenario:
    return JoinScenario(world, settings.seed, settings.nodes)


def _churn(world: Overlays, settings: Settings) -> ChurnScenario:
    return ChurnScenario(world, settings.seed, settings.nodes, settings.kill or 0.0)


async def _agreement(settings: Settings) -> Result:
    """Nothing in it waits: engines only."""
    checks, figures = agreement.play(settings.nodes, settings.seed)
    return Result(checks, figures, 0.0, [], hashlib.sha256(repr((checks, figures)).encode()).hexdigest())


async def _suspicion(settings: Settings) -> Result:
    """Engines only, each of its three runs this long."""
    played_s = settings.hours * 3600 or suspicion.PLAYED_S
    checks, figures, digest = suspicion.play(settings.nodes, settings.seed, played_s)
    return Result(checks, figures, played_s, [], digest)


async def _gossip(settings: Settings) -> Result:
    checks, figures, virtual_s, digest = gossip.play(settings.nodes, settings.seed)
    return Result(checks, figures, virtual_s, [], digest)


def _jobs(world: World, settings: Settings) -> JobsScenario:
    return JobsScenario(world, settings.seed, settings.nodes, settings.kill or 0.0)


def _loss(world: World, settings: Settings) -> LossScenario:
    return LossScenario(world, settings.seed, settings.nodes, settings.kill or 0.0)


def _registers(world: World, settings: Settings) -> RegistersScenario:
    return RegistersScenario(world, settings.seed, settings.nodes, settings.kill or 0.0)


def _partition(world: World, settings: Settings) -> PartitionScenario:
    return PartitionScenario(world, settings.seed, settings.nodes)


def _succession(world: World, settings: Settings) -> SuccessionScenario:
    return SuccessionScenario(world, settings.seed, settings.nodes)


def _deeds(scenario: MixedScenario | PartitionScenario) -> list[Deed]:
    return scenario.programs.diary.deeds


def _mixed(world: World, settings: Settings) -> MixedScenario:
    span_s = settings.hours * 3600 or mixed.SPAN_S
    lossless = settings.loss > 0
    return MixedScenario(
        world, settings.seed, settings.nodes, span_s=span_s, kill=settings.kill or 0.0, lossless=lossless
    )


SCENARIOS: Final[dict[str, Scenario]] = {
    "jobs": Scenario(_on_nodes(_jobs, judge), kills=True, whole=True),
    "loss": Scenario(_on_nodes(_loss, judge_loss), kills=True, whole=True),
    "succession": Scenario(
        _on_nodes(_succession, succession.judge),
        lambda seed: succession.NODES,
        nodes_min=succession.NODES_MIN,
        whole=True,
    ),
    "registers": Scenario(_on_nodes(_registers, judge_registers), kills=True, whole=True),
    "agreement": Scenario(_agreement, engines=True),
    "join": Scenario(_on_overlays(_join, judge_join, holding_records=False), nodes_max=OVERLAYS_MAX),
    "churn": Scenario(_on_overlays(_churn, judge_churn, holding_records=True), nodes_max=OVERLAYS_MAX, kills=True),
    "suspicion": Scenario(_suspicion, takes_hours=True, engines=True),
    "gossip": Scenario(_gossip, nodes_max=GOSSIP_MAX, engines=True),
    "partition": Scenario(
        _on_nodes(_partition, partition.judge, _deeds), lambda seed: partition.NODES, nodes_min=2, whole=True
    ),
    "mixed": Scenario(_on_nodes(_mixed, mixed.judge, _deeds), mixed.nodes_of, takes_hours=True, kills=True, whole=True),
}


def checked(name: str, settings: Settings) -> Settings:
    """With the scenario's own numbers where there were none. Raises UsageError for a scenario that does not exist or
    settings that it does not take."""
    scenario = SCENARIOS.get(name)
    if scenario is None:
        raise UsageError(f"no scenario {name!r}: there is {', '.join(SCENARIOS)}")
    for fault in (*settings.faults(), *scenario.faults(name, settings)):
        raise UsageError(fault)
    kill = KILL if settings.kill is None and scenario.kills else settings.kill
    return msgspec.structs.replace(settings, nodes=settings.nodes or scenario.nodes(settings.seed), kill=kill)


class Wishes(TypedDict, total=False):
    """Fields of `Settings`."""

    seed: int
    nodes: int
    kill: float | None
    hours: float
    loss: float
    duplicate: float


def run_scenario(name: str, **wishes: Unpack[Wishes]) -> dict[str, object]:
    """Raises UsageError, as `checked`."""
    answer, _ = run_with_log(name, **wishes)
    return answer


def run_with_log(name: str, **wishes: Unpack[Wishes]) -> tuple[dict[str, object], list[str]]:
    """The answer, and the log of events line by line."""
    answer, result = _run(name, checked(name, Settings(**wishes)))
    return answer, result.event_log


def run_with_page(name: str, **wishes: Unpack[Wishes]) -> tuple[dict[str, object], str]:
    """The answer, and the picture of it as a page of HTML."""
    settings = checked(name, Settings(**wishes))
    if SCENARIOS[name].engines:
        raise UsageError(f"of scenario {name} there is no picture")
    if settings.nodes > PICTURE_MAX:
        raise UsageError(f"a picture shows up to {PICTURE_MAX} nodes, not {settings.nodes}")
    answer, result = _run(name, settings)
    assert result.story is not None
    return answer, page(result.story, answer)


def _run(name: str, settings: Settings) -> tuple[dict[str, object], Result]:
    began_s = time.perf_counter()
    result = determinism.run(SCENARIOS[name].play, settings, seed=settings.seed)
    wall_s = time.perf_counter() - began_s
    answer: dict[str, object] = {
        "scenario": name,
        "nodes": settings.nodes,
        "seed": settings.seed,
        "held": all(check.held for check in result.checks),
        "checks": [check.as_dict() for check in result.checks],
        "figures": result.figures,
        "virtual_s": round(result.virtual_s, 6),
        "wall_s": round(wall_s, 3),
        "event_log_sha256": result.event_log_sha256,
        "replay": replay(name, settings),
    }
    return answer, result


def replay(name: str, settings: Settings) -> str:
    """The command that does it again."""
    return f"potluck sim {name} {settings.shown()}"
