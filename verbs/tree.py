"""`potluck tree`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from .answer import Answer, Session, verb
from .asking import connected
from .processes import Row, icon, seen


@verb("tree", summary="Show which processes have come from which.")
@click.option("--no-emoji", is_flag=True, help="Plain letters only.")
def command(session: Session, /, no_emoji: bool) -> Answer:
    """Show the processes of the whole mesh by job, each below the one that has submitted it."""
    with connected(session) as connection:
        found = seen(connection, everywhere=True)
    lines = _lines(found.rows, emoji=not no_emoji)
    return Answer(found.rows, "\n".join(lines) or "no processes", found.notes)


def _lines(rows: Sequence[Row], *, emoji: bool) -> Iterator[str]:
    pids = {row.pid for row in rows}
    children: dict[str, list[Row]] = {}
    for row in rows:
        if row.parent in pids:
            children.setdefault(row.parent, []).append(row)
    for group in dict.fromkeys(row.group for row in rows):
        yield f"job {group}"
        pending = [(row, 1) for row in reversed(rows) if row.group == group and row.parent not in pids]
        while pending:
            row, depth = pending.pop()
            yield f"{'  ' * depth}{row.pid}  {icon(row, emoji=emoji)}  {row.state}  {row.task}"
            pending += [(child, depth + 1) for child in reversed(children.get(row.pid, []))]
