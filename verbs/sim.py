"""`potluck sim`."""

from __future__ import annotations

from typing import Any, Final

import click

from .answer import Answer, Session, verb
from .rendering import duration_text

_WORD: Final = {True: "held  ", False: "BROKEN"}


@verb("sim", summary="Run thousands of nodes in virtual time.")
@click.argument("scenario")
@click.option("--nodes", type=click.IntRange(min=1), default=20, help="How many nodes.  [20]")
@click.option("--seed", type=int, default=1, help="Draws everything; the same seed gives the same run.  [1]")
@click.option("--kill", type=click.FloatRange(0, 1), default=0.1, help="The fraction of nodes that die.  [0.1]")
def command(_session: Session, scenario: str, nodes: int, seed: int, kill: float) -> Answer:
    """Run SCENARIO with the shipped code in virtual time, and check what must hold.

    SCENARIO is jobs, loss, registers, agreement, suspicion or gossip; join or churn for very many nodes.
    """
    from ..simulations.run import run_scenario

    outcome: dict[str, Any] = run_scenario(scenario, nodes=nodes, seed=seed, kill=kill)
    lines = [
        f"{'held  ' if check['held'] else 'BROKEN'}  {check['name']}: {check['detail']}" for check in outcome["checks"]
    ]
    lines += [f"{name} = {figure}" for name, figure in outcome["figures"].items()]
    lines.append(
        f"{duration_text(outcome['virtual_s'])} of {nodes} nodes in {duration_text(outcome['wall_s'])};"
        f" again with: {outcome['replay']}"
    )
    return Answer(outcome, "\n".join(lines), exit_code=0 if outcome["held"] else 1)
