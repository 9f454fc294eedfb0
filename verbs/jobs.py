"""`potluck jobs`."""

from __future__ import annotations

from ..overlay.wire.control import AskPeers
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .rendering import table
from .told import list_of


@verb("jobs", summary="List the jobs of the mesh that are yours.")
def command(session: Session) -> Answer:
    """List your jobs that run, and those that are kept, wherever they were submitted."""
    with connected(session) as connection:
        rows = list_of(connection, "jobs")
        lost = [peer["name"] for peer in ask_json(connection, AskPeers) if peer["state"] == "dead"]
    shown = [
        [row["job"], row["state"], f"{row['tasks_ended']}/{row['tasks_total']}", row["master"], row["submitter"]]
        for row in rows
    ]
    told = table(["job", "state", "tasks", "master", "from"], shown) if rows else "no jobs"
    missing = f"not listed is what only {', '.join(lost)} may know of, lost from sight" if lost else ""
    return Answer(rows, told, missing)
