"""`potluck sim`."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import click

from ..overlay.errors import UsageError
from .answer import Answer, Session, verb
from .reading import Counts, Numbers
from .rendering import duration_text


@verb("sim", summary="Run thousands of nodes in virtual time.")
@click.argument("scenario")
@click.option("--nodes", type=Counts(min=1), help="How many nodes.  [20; mixed: drawn, 3 to 10]")
@click.option("--seed", type=int, help="Draws everything; the same seed gives the same run.  [1]")
@click.option("--seeds", metavar="A..B", help="All of these, on all cores; shows only what failed.")
@click.option("--kill", type=Numbers(0, 1), help="The fraction of nodes that die.  [0.1]")
@click.option("--hours", type=Numbers(0), default=0.0, help="Of virtual time.  [minutes: mixed 5, suspicion 10]")
@click.option("--loss", type=Numbers(0, 1), default=0.0, help="The fraction of messages lost on the way.  [0]")
@click.option("--duplicate", type=Numbers(0, 1), default=0.0, help="The fraction that comes twice.  [0]")
@click.option("--html", type=click.Path(dir_okay=False, path_type=Path), help="Draws what happened into this file.")
def command(
    session: Session,
    /,
    scenario: str,
    nodes: int | None,
    seed: int | None,
    seeds: str | None,
    html: Path | None,
    **settings: Any,
) -> Answer:
    """Run SCENARIO in virtual time with the shipped code, and check what must hold.

    SCENARIO is jobs, succession, loss, registers, agreement, partition, mixed, suspicion or gossip; join or churn for
    very many nodes.
    """
    from ..simulations.run import Settings, run_scenario, run_with_page
    from ..simulations.seeds import run_seeds

    logging.getLogger("potluck").addHandler(logging.NullHandler())  # what virtual nodes warn of, nobody can mend
    settings |= {"nodes": nodes or 0, "seed": 1 if seed is None else seed}
    _check(seed, seeds, html)
    if seeds is None:
        outcome: dict[str, Any]
        if html is None:
            outcome = run_scenario(scenario, **settings)
        else:
            outcome, page = run_with_page(scenario, **settings)
            html.write_text(page, encoding="utf-8")
        return Answer(outcome, "\n".join(_lines(outcome)), exit_code=0 if outcome["held"] else 1)

    def tell(failed: dict[str, Any]) -> None:
        session.show(failed, "\n".join(_broken(failed)))

    total = run_seeds(scenario, Settings(**settings), _range(seeds), tell)
    session.show(total, _sum(total))
    return Answer(total, exit_code=1 if total["failed"] else 0, told=True)


def _check(seed: int | None, seeds: str | None, html: Path | None) -> None:
    """Raises UsageError before anything has been played for nothing."""
    if seeds is not None and seed is not None:
        raise UsageError("give either --seed or --seeds")
    if seeds is not None and html is not None:
        raise UsageError("a picture is of one seed: leave out --seeds or --html")
    if html is not None and not os.access(html if html.exists() else html.parent, os.W_OK):
        raise UsageError(f"--html {html} cannot be written: is there such a folder, and is it yours?")


def _lines(outcome: dict[str, Any]) -> list[str]:
    lines = [_line(check) for check in outcome["checks"]]
    lines += [f"{name} = {_figure(figure)}" for name, figure in outcome["figures"].items()]
    took = f"{duration_text(outcome['virtual_s'])} of {outcome['nodes']} nodes in {duration_text(outcome['wall_s'])}"
    return [*lines, f"{took}; again with: {outcome['replay']}"]


def _figure(figure: object) -> str:
    """For a person: four digits tell enough."""
    if isinstance(figure, float):
        return f"{figure:.4g}"
    if isinstance(figure, dict):
        return ", ".join(f"{name} {_figure(one)}" for name, one in figure.items()) or "none"
    if isinstance(figure, list | tuple):
        return ", ".join(map(_figure, figure)) or "none"
    return "not at all" if figure is None else str(figure)


def _broken(outcome: dict[str, Any]) -> list[str]:
    return [outcome["replay"], *(f"  {_line(check)}" for check in outcome["checks"] if not check["held"])]


def _line(check: dict[str, Any]) -> str:
    return f"{'held  ' if check['held'] else 'BROKEN'}  {check['name']}: {check['detail']}"


def _sum(total: dict[str, Any]) -> str:
    time = f"{duration_text(total['virtual_hours'] * 3600)} of virtual time in {duration_text(total['wall_s'])}"
    return f"{total['seeds']} seeds, {total['failed']} failed; {time}"


def _range(text: str) -> range:
    first, dots, last = text.partition("..")
    try:
        seeds = range(int(first), int(last) + 1) if dots else range(0)
    except ValueError:
        seeds = range(0)
    if not seeds:
        raise UsageError(f"seeds {text!r}: write them A..B, the lower one first")
    return seeds
