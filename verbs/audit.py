"""`potluck audit`."""

from __future__ import annotations

import time
from typing import Any

import click

from ..overlay.wire.control import AskAudit
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import Counts
from .rendering import duration_text, table


@verb("audit", summary="Who has run whose what on a node, and whether its log is as it was.")
@click.argument("name", required=False, default="", metavar="[NODE]")
@click.option("--last", type=Counts(0, 1000), default=20, metavar="N", help="Show so many entries.  [20]")
def command(session: Session, /, name: str, last: int) -> Answer:
    """Show the end of a node's audit log, and hold all of it against what its neighbours keep. Exit 1 if it differs."""
    with connected(session) as connection:
        found: dict[str, Any] = ask_json(connection, AskAudit, name, last)
    headings = ("ENTRY", "AT", "OWNER", "MASTER", "JOB", "TASKS", "FAILED", "TOOK")
    rows = [_row(entry) for entry in found["log"]]
    return Answer(found, table(headings, rows) if rows else "", _verdict(found), 0 if found["held"] else 1)


def _row(entry: dict[str, Any]) -> tuple[str, ...]:
    tasks = entry["tasks"]
    return (
        str(entry["number"]),
        time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(entry["at_s"])),
        entry["owner"][:12],
        entry["master"][:12],
        entry["job"],
        str(len(tasks)),
        str(sum(task["code"] != 0 for task in tasks)),
        duration_text(sum(task["elapsed_s"] for task in tasks)),
    )


def _verdict(found: dict[str, Any]) -> str:
    keepers = ", ".join(f"{keeper['node']} (to entry {keeper['entries']})" for keeper in found["witnesses"])
    kept = f"kept by {keepers}" if keepers else "nobody else keeps anything of it"
    if found["held"]:
        return f"{found['node']}: {found['entries']} entries, all as they were; {kept}"
    broken = found["broken"]
    where = f"entry {broken['first']}" + (f" to {broken['last']}" if broken["last"] > broken["first"] else "")
    return f"{found['node']}: the log was changed at {where}: {broken['why']}; {kept}"
