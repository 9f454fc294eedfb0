"""`potluck status`."""

from __future__ import annotations

from typing import Any, Final

from ..overlay.wire.control import AskStatus
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .lending import lending_text
from .rendering import duration_text, size_text, table

CLOCK_RIGHT_S: Final = 1.0


@verb("status", summary="Show one node.")
def command(session: Session) -> Answer:
    """Show what one node is, has and does."""
    with connected(session) as connection:
        status: dict[str, Any] = ask_json(connection, AskStatus)
    load = status.get("load") or {}
    sandbox, peers = status.get("sandbox") or {}, status.get("peers")
    kept = [name for name, holds in (sandbox.get("guarantees") or {}).items() if holds]
    rows = (
        ("node", f"{status['name']} ({status['node_id']})"),
        ("address", str(status.get("address"))),
        ("up for", duration_text(status.get("uptime_s") or 0.0)),
        ("mesh", f"{status.get('mesh')}, {'BANNED from it' if status.get('banned') else f'{peers} peers'}"),
        ("slots", f"{load.get('busy', 0)} of {load.get('slots', 0)} busy, {load.get('queued', 0)} tasks queued"),
        ("lending", lending_text(status.get("lending") or {"lends": True})),
        ("quotas", _quotas_text(status.get("quotas") or {})),
        ("lent", _lent_text(status.get("resources") or {}, load)),
        ("clock", _clock_text(status.get("clock_error_s") or 0.0)),
        ("policy", str(status.get("policy"))),
        ("sandbox", f"{sandbox.get('backend')}: {', '.join(kept) or 'no guarantees'}"),
    )
    return Answer(status, "\n".join(table(rows[0], rows[1:]).splitlines()))


def _quotas_text(quotas: dict[str, Any]) -> str:
    rules = [
        *([f"{quotas['cpu_s']:g} s of CPU time a day for each other owner"] if quotas.get("cpu_s") else []),
        *([f"{quotas['total_cpu_s']:g} s for all of them"] if quotas.get("total_cpu_s") else []),
        *([f"{size_text(quotas['memory'])} of memory each"] if quotas.get("memory") else []),
        *([f"{size_text(quotas['disk'])} of disk each"] if quotas.get("disk") else []),
    ]
    taken_s = sum(one["cpu_s"] for one in quotas.get("taken") or [])
    return f"{', '.join(rules) or 'none'}; others have taken {taken_s:.1f} s lately"


def _lent_text(lent: dict[str, Any], load: dict[str, Any]) -> str:
    gpus = lent.get("gpus") or []
    named = f": {', '.join(gpu['name'] for gpu in gpus)} ({load.get('gpus_free', 0)} free)" if gpus else ""
    memory = size_text(lent.get("memory") or 0)
    return f"{lent.get('cpus', 0)} CPUs, {memory} of memory, {len(gpus)} GPUs{named}"


def _clock_text(error_s: float) -> str:
    if abs(error_s) < CLOCK_RIGHT_S:
        return "agrees with the others"
    side = "ahead of" if error_s > 0 else "behind"
    return f"{duration_text(abs(error_s))} {side} the others; the time of the mesh is used"
