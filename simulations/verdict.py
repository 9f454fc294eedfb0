"""What must hold after the scenario `jobs`, and its figures."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median

from ..overlay.errors import RemoteProtocolError
from ..overlay.wire import values
from ..overlay.wire.work import Finished, Inline
from .checks import Check, Chronicle, Departure, check, delays, unnoticed
from .jobs import Job, JobsScenario, Outcome
from .world import World

DEATH_KNOWN_S = 5.0
LEAVING_KNOWN_S = 1.0
"""Where no message is lost. A goodbye comes as late as its way makes it."""


def judge(world: World, scenario: JobsScenario) -> tuple[list[Check], dict[str, object]]:
    outcome, chronicle = scenario.outcome, Chronicle(world.log.events)
    died = _departures(world, outcome.deaths, "died", DEATH_KNOWN_S)
    leaving_known_s = LEAVING_KNOWN_S + world.ether.weather.resent_max_s
    left = _departures(world, outcome.left, "left", leaving_known_s)
    jobs, survivors = outcome.plan.jobs, [machine.name for machine in world.running()]
    tasks = sum(len(job.expected) for job in jobs if job.survives)
    joined = "" if outcome.joined_s is None else f"after {outcome.joined_s:.2f} s"
    checks = [
        check("no node failed", world.failures, f"{len(world.machines)} nodes"),
        check("everyone joined and knows everyone", [] if joined else ["not in time"], joined),
        check("every task finished once, with the right value", _wrong(jobs), f"{tasks} tasks of surviving submitters"),
        check("no task was accepted twice", _twice(jobs), f"{sum(len(job.reports) for job in jobs)} tasks"),
        check("every write is acknowledged while all is well", outcome.unwritten, f"{len(outcome.keys)} keys"),
        check("acknowledged memory is readable everywhere", outcome.read_faults, _memory(outcome, survivors)),
        check("the dead are known to all", unnoticed(chronicle, died), f"{len(died)} within {DEATH_KNOWN_S:g} s"),
        check("who leaves is known to all", unnoticed(chronicle, left), f"{len(left)} within {leaving_known_s:g} s"),
        check("the living are not called dead", _slandered(world, chronicle), f"{len(survivors)} survivors"),
        check("survivors agree on who is there", scenario.disagreements(), f"{len(survivors)} survivors"),
        check("nothing is left running", outcome.busy, "all slots free, no worker but spares"),
    ]
    return checks, _figures(world, outcome, delays(chronicle, died), delays(chronicle, left))


def _departures(world: World, gone: list[tuple[str, float]], event: str, within_s: float) -> list[Departure]:
    return [
        Departure(name, at_s, event, within_s, _observers(world, name, at_s, at_s + within_s)) for name, at_s in gone
    ]


def _observers(world: World, name: str, since_s: float, until_s: float) -> tuple[str, ...]:
    return tuple(other for other in world.machines if other != name and world.lived(other, since_s, until_s))


def _wrong(jobs: tuple[Job, ...]) -> Iterator[str]:
    for job in jobs:
        if not job.survives:
            continue
        for index, expected in job.expected.items():
            reports = job.reports.get(index, [])
            if len(reports) != 1:
                yield f"task {index} of {job.submitter} was reported {len(reports)} times"
            elif (got := value_of(reports[0][1])) != expected:
                yield f"task {index} of {job.submitter} gave {got!r} at {reports[0][0]}, not {expected!r}"


def value_of(finished: Finished) -> object:
    if finished.fault is not None:
        return f"fault {finished.fault.code}: {finished.fault.message}"
    try:
        return values.decode(finished.value) if isinstance(finished.value, Inline) else finished.value
    except RemoteProtocolError as error:
        return str(error)


def _twice(jobs: tuple[Job, ...]) -> Iterator[str]:
    for job in jobs:
        for index, reports in job.reports.items():
            if len(reports) > 1:
                yield f"task {index} of {job.submitter}, by {', '.join(node for node, _ in reports)}"


def _memory(outcome: Outcome, survivors: list[str]) -> str:
    acknowledged = sum(1 for key in outcome.keys.values() if key.acknowledged)
    return f"{acknowledged} of {len(outcome.keys)} keys acknowledged, read at {len(survivors)} nodes"


def _slandered(world: World, chronicle: Chronicle) -> Iterator[str]:
    for observer, subject, at_s in chronicle.said("died"):
        machine = world.machines[subject]
        lives = any(life.began_s < at_s < life.ended_s for life in machine.lives)
        lately_died = any(0 <= at_s - life.ended_s < 2 * DEATH_KNOWN_S for life in machine.lives)
        if lives and not lately_died:
            yield f"{observer} said at {at_s:.2f} s that {subject} had died"


def _figures(world: World, outcome: Outcome, died_s: list[float], left_s: list[float]) -> dict[str, object]:
    plan = outcome.plan
    return {
        "joined_s": outcome.joined_s,
        "jobs": len(plan.jobs),
        "jobs_of_the_dead": sum(not job.survives for job in plan.jobs),
        "tasks": sum(len(job.expected) for job in plan.jobs),
        "tasks_run": sum(machine.tasks_run for machine in world.machines.values()),
        "killed": len(outcome.deaths),
        "left": len(outcome.left),
        "keys": len(outcome.keys),
        "died_known_s_median": round(median(died_s), 3) if died_s else None,
        "died_known_s_max": round(max(died_s), 3) if died_s else None,
        "left_known_s_max": round(max(left_s), 3) if left_s else None,
        "events": len(world.log.events),
    }
