"""`potluck explain`."""

from __future__ import annotations

import click

from .answer import Answer, Session, verb
from .asking import connected
from .told import list_of


@verb("explain", summary="Say why a job's tasks wait.")
@click.argument("job")
def command(session: Session, job: str) -> Answer:
    """Say of every task that waits why it does, and what each node lacks that cannot run it."""
    with connected(session) as connection:
        waiting = list_of(connection, "explain", job)
    lines = []
    for one in waiting:
        lines.append(f"{one['task']}: {one['reason']}")
        lines += [f"    {lack['node']}: {lack['what']}" for lack in one["lacking"]]
    return Answer(waiting, "\n".join(lines) or "nothing waits")
