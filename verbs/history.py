"""`potluck history`."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import Any

import click

from .answer import Answer, Session, verb
from .asking import connected
from .rendering import duration_text, table
from .told import list_of


@verb("history", summary="List jobs that are over.")
@click.option("--stats", is_flag=True, help="Sum them up instead.")
def command(session: Session, stats: bool) -> Answer:
    """List your jobs that are over, the latest last, as the nodes that were their masters remember them."""
    with connected(session) as connection:
        rows = list_of(connection, "history")
    if stats:
        summed = _stats(rows)
        return Answer(summed, _shown(summed))
    shown = [
        [
            row["job"],
            row["state"],
            str(row["tasks"]),
            duration_text(row["ended_s"] - row["submitted_s"]),
            datetime.fromtimestamp(row["submitted_s"], UTC).astimezone().strftime("%Y-%m-%d %H:%M:%S"),
        ]
        for row in rows
    ]
    return Answer(rows, table(["job", "state", "tasks", "took", "submitted"], shown) if rows else "no jobs yet")


def _stats(rows: list[dict[str, Any]]) -> dict[str, Any]:
    nodes: Counter[str] = Counter()
    for row in rows:
        nodes.update(row["nodes"])
    took_s = [row["ended_s"] - row["submitted_s"] for row in rows]
    return {
        "jobs": len(rows),
        "states": dict(Counter(row["state"] for row in rows)),
        "tasks": sum(row["tasks"] for row in rows),
        "tasks_failed": sum(row["failed"] for row in rows),
        "run_s": round(sum(row["run_s"] for row in rows), 3),
        "took_s_mean": round(sum(took_s) / len(took_s), 3) if took_s else 0.0,
        "nodes": dict(nodes.most_common()),
    }


def _shown(summed: dict[str, Any]) -> str:
    states = ", ".join(f"{count} {state}" for state, count in summed["states"].items()) or "none"
    shares = ", ".join(f"{node} ran {count}" for node, count in summed["nodes"].items()) or "nobody ran any"
    return "\n".join(
        [
            f"{summed['jobs']} jobs: {states}",
            f"{summed['tasks']} tasks, {summed['tasks_failed']} failed; they ran for {duration_text(summed['run_s'])}",
            shares,
        ]
    )
