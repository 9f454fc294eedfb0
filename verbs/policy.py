"""`potluck policy`."""

from __future__ import annotations

from typing import Any

import click

from ..overlay.wire.control import AskPolicy
from .answer import Answer, Session, verb
from .asking import ask_json, connected
from .reading import policy as checked
from .rendering import table


@verb("policy", summary="Show or change how a node schedules its tasks.")
@click.argument("name", required=False, default="", type=lambda spec: checked(spec) if spec else spec)
@click.option("--stats", is_flag=True, help="Show what it has made of its tasks since the node's start.")
def command(session: Session, /, name: str, stats: bool) -> Answer:
    """Show a node's scheduling policy, or go by NAME from now on: fcfs, sjf, priority, rr, mlfq, fair, or one with
    settings, such as rr:time_quantum_ms=100. What runs goes on; what waits moves over."""
    with connected(session) as connection:
        told: dict[str, Any] = ask_json(connection, AskPolicy, name)
    return Answer(told, _shown(told) if stats else _named(told))


def _named(told: dict[str, Any]) -> str:
    """As it would be typed."""
    return ":".join(filter(None, (told["policy"], told["settings"])))


def _shown(told: dict[str, Any]) -> str:
    rows = (
        ("policy", _named(told)),
        ("mean wait", f"{told['wait_s_mean']:.3f} s"),
        ("mean turnaround", f"{told['turnaround_s_mean']:.3f} s"),
        ("mean response", f"{told['response_s_mean']:.3f} s"),
        ("tasks per second", f"{told['throughput_per_s']:.3g}"),
        ("context switches", str(told["context_switches"])),
        ("ready, by level", " ".join(map(str, told["queues"]))),
    )
    return table(rows[0], rows[1:])
