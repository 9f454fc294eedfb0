"""`potluck logs`."""

from __future__ import annotations

import time
from typing import Any, Final

import click

from .answer import Answer, Session, verb
from .asking import connected
from .records import OVER
from .told import tasks_of

_LOOK_AGAIN_S: Final = 0.5


@verb("logs", summary="Show what a job's tasks have printed.")
@click.argument("job")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job is over.")
def command(session: Session, job: str, follow: bool) -> Answer:
    """Show what the tasks of a job that have ended printed, stdout and stderr, in the order of tasks; with -f as they
    end."""
    seen: set[str] = set()
    told: list[dict[str, Any]] = []
    with connected(session) as connection:
        while True:
            done = tasks_of(connection, job)
            for task in done.tasks:
                if task["state"] in OVER and task["task"] not in seen:
                    seen.add(task["task"])
                    told.append({name: task[name] for name in ("task", "node", "stdout", "stderr")})
                    if follow:
                        session.show(told[-1], text_of(told[-1]))
            if not follow or done.record["state"] in OVER:
                break
            time.sleep(_LOOK_AGAIN_S)
    return Answer(told, "\n".join(filter(None, map(text_of, told))), told=follow)


def text_of(said: dict[str, Any]) -> str:
    """Each line with the task that printed it."""
    lines = [*said["stdout"].splitlines(), *said["stderr"].splitlines()]
    return "\n".join(f"{said['task'].rpartition('/')[2]}  {line}" for line in lines)
