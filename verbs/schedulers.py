"""`potluck schedulers`."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import click

from ..node.scheduling import workload
from ..node.scheduling.catalogue import OURS, make
from ..node.scheduling.machine import Machine, Run, compared
from ..node.scheduling.policy import Policy
from ..node.scheduling.workload import Work
from ..overlay.errors import ConfigError, UsageError
from ..overlay.wire.control import AskAudit
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .gantt import chart, page
from .reading import Counts, Numbers
from .rendering import table

_ENTRIES_MAX: Final = 1000
_WITHIN: Final = "Live: go through it so fast that each policy takes about so long.  [10, or less]"
_HEADINGS: Final = ("policy", "wait s", "turnaround s", "response s", "tasks/s", "switches", "longest queues")


@verb("schedulers", summary="Compare the scheduling policies on one workload.")
@click.option(
    "--workload",
    "source",
    type=click.File("rb"),
    metavar="FILE",
    help="Tasks, as JSON; `-`: standard input. `docs/scheduling.md` has the fields.",
)
@click.option("--recorded", is_flag=True, help="What this node has run lately, by its audit log.")
@click.option("--tasks", type=Counts(1, workload.TASKS_MAX), help="Otherwise so many are drawn.  [30]")
@click.option("--seed", type=int, help="Draws them.  [1]")
@click.option("--live", is_flag=True, help="Run it for real, in sandboxes of this machine.")
@click.option("--within", "within_s", type=Numbers(1, 3600), metavar="S", help=_WITHIN)
@click.option("--processors", type=Counts(1, 64), default=1, help="[1]")
@click.option("--policy", "specs", multiple=True, metavar="NAME[:SETTING=VALUE]", help="Only these.  [all]")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Draws the charts into this file.")
@click.option("--no-emoji", is_flag=True, help="Plain letters only.")
def command(
    session: Session,
    /,
    source: Any,
    recorded: bool,
    tasks: int | None,
    seed: int | None,
    live: bool,
    within_s: float | None,
    processors: int,
    specs: tuple[str, ...],
    html: Path | None,
    no_emoji: bool,
) -> Answer:
    """Run one workload under every policy, in virtual time or for real, and show what each makes of it: how long tasks
    wait, and who runs when.

    Policies: fcfs, sjf, priority, rr, mlfq, fair, and those of installed packages; settings such as
    rr:time_quantum_ms=100 or priority:preemptive=false.
    """
    _check(source, recorded, (tasks, seed), html)
    if within_s is not None and not live:
        raise UsageError("--within is for --live")
    chosen = specs or tuple(OURS)
    policies = _made(chosen)
    if source is not None:
        works = _from_file(source)
    elif recorded:
        works = _recorded(session, workload.LIVE_MAX if live else workload.TASKS_MAX)
    else:
        works = workload.mixed(tasks or 30, 1 if seed is None else seed)
    notes = ""
    if live:
        from .live import live as run_live

        works, runs, notes = run_live(works, policies, processors, within_s or 10.0)
    else:
        runs = {spec: Machine(policy, processors=processors).play(works) for spec, policy in policies.items()}
    figures = [compared(spec, run) for spec, run in runs.items()]
    if html is not None:
        html.write_text(page(works, runs, figures), encoding="utf-8")
    return Answer(figures, _shown(works, runs, figures, no_emoji), notes)


def _check(source: object, recorded: bool, drawn: tuple[int | None, int | None], html: Path | None) -> None:
    """Raises UsageError before anything has been played for nothing."""
    if (source is not None) + recorded + (drawn != (None, None)) > 1:
        raise UsageError("give one of --workload, --recorded, or --tasks and --seed")
    if html is not None and not os.access(html if html.exists() else html.parent, os.W_OK):
        raise UsageError(f"--html {html} cannot be written: is there such a folder, and is it yours?")


def _made(specs: Sequence[str]) -> dict[str, Policy[Any]]:
    try:
        return {spec: make(spec) for spec in specs}
    except ConfigError as error:
        raise UsageError(str(error)) from None


def _from_file(source: Any) -> list[Work]:
    try:
        text = source.read(workload.BYTES_MAX + 1).decode()
    except UnicodeDecodeError:
        raise UsageError(f"{source.name}: no text") from None
    return workload.parse(text, source.name)


def _recorded(session: Session, tasks_max: int) -> list[Work]:
    with connected(session) as connection:
        found = ask_json(connection, AskAudit, "", _ENTRIES_MAX)
    return workload.recorded(found["log"], found["node"], tasks_max)


def _shown(works: list[Work], runs: dict[str, Run], figures: list[dict[str, Any]], no_emoji: bool) -> str:
    width = min(shutil.get_terminal_size().columns, 160)
    charts = [f"\n{spec}\n{chart(works, run, width, emoji=not no_emoji)}" for spec, run in runs.items()]
    return "\n".join([table(_HEADINGS, [_row(figure) for figure in figures]), *charts])


def _row(figure: dict[str, Any]) -> tuple[str, ...]:
    times = (f"{figure[f'{what}_s_mean']:.3f}" for what in ("wait", "turnaround", "response"))
    rest = f"{figure['throughput_per_s']:.3g}", str(figure["context_switches"]), " ".join(map(str, figure["queues"]))
    return (figure["policy"], *times, *rest)
