"""`potluck job ID` and `potluck job forget ID`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import click

from ..overlay.errors import UsageError
from .answer import Answer, Session, verb
from .asking import connected
from .records import OVER, Done
from .told import list_of, tasks_of, told_of


@verb("job", summary="Show a job, or forget it.")
@click.argument("words", nargs=-1, metavar="[forget] ID")
def command(session: Session, words: tuple[str, ...]) -> Answer:
    """Show how a job stands, with all its tasks, or with `forget` cancel it and keep nothing of it."""
    match words:
        case ["forget"]:
            pass
        case ["forget", job]:
            with connected(session) as connection:
                told = told_of(connection, job, "forget")
            return Answer(told, f"{job} is forgotten")
        case [job]:
            with connected(session) as connection:
                done = tasks_of(connection, job)
                is_over = session.as_json or done.record["state"] in OVER
                waiting = [] if is_over else list_of(connection, "explain", job)
            return Answer(done.record, shown(done, Counter(one["reason"] for one in waiting)))
    raise UsageError("give a job: `potluck job ID` or `potluck job forget ID`; `potluck jobs` lists them")


def shown(done: Done, reasons: Mapping[str, int]) -> str:
    """`reasons` why tasks wait, and how many wait for that."""
    record = done.record
    ended = sum(task["state"] not in ("pending", "running") for task in done.tasks)
    total = max(record["tasks_total"], len(done.tasks))  # a deputy may know of fewer
    lines = [
        f"{record['job']}: {record['state']}, {ended} of {total} tasks have ended",
        f"master: {record['master']}, epoch {record['epoch']}",
    ]
    if record["unfenced"]:
        lines.append("unfenced: of two nodes one went on alone; the other may have, too")
    if any(task["node"] for task in done.tasks):
        lines.append(done.who())
    lines += [f"waits: {why}" + (f" ({count} tasks)" if count > 1 else "") for why, count in reasons.items()]
    return "\n".join([*lines, *([done.complaints()] if done.faults else [])])
