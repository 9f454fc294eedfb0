"""`potluck invite`."""

from __future__ import annotations

from typing import Any, Final

import click

from ..overlay.wire.control import Invite
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import Counts, Numbers
from .rendering import duration_text

MINUTES: Final = 10.0
HOURS_MAX: Final = 168.0
COUNT_MAX: Final = 1000


@verb("invite", summary="Let another machine into the mesh.")
@click.option("--mine", is_flag=True, help="It is another machine of yours.")
@click.option("--may-invite", is_flag=True, help="Its owner may let others in.")
@click.option("--count", type=Counts(1, COUNT_MAX), default=1, metavar="N", help="For N machines.  [1]")
@click.option(
    "--hours",
    type=Numbers(0, HOURS_MAX, min_open=True),
    default=MINUTES / 60,
    metavar="H",
    help="Open this long.  [10 minutes]",
)
def command(session: Session, mine: bool, may_invite: bool, count: int, hours: float) -> Answer:
    """Show a code that lets another machine into this mesh: `potluck join CODE` there. Three wrong codes end it."""
    with connected(session) as connection:
        answer: dict[str, Any] = ask_json(connection, Invite, mine, may_invite, count, max(1, round(hours * 3_600_000)))
    machines = "one machine" if count == 1 else f"{count} machines"
    shown = f"  {answer['code']}  ({_life(answer['expires_s'])}, {machines})"
    return Answer(answer, shown, notes=f"On the other machine: potluck join {answer['code']}")


def _life(life_s: float) -> str:
    minutes = life_s / 60
    return f"{minutes:.0f} minutes" if 1 < minutes <= 60 else duration_text(life_s)
