"""Who ran when, drawn: for a terminal, and as one HTML file that needs nothing else."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any, Final

from ..node.scheduling.machine import Run
from ..node.scheduling.workload import Work

ROWS_MAX: Final = 20
NAME_MAX: Final = 14
_PLACE: Final = "/*DATA*/"
_TEMPLATE: Final = "gantt.html"


def chart(works: Sequence[Work], run: Run, width: int, *, emoji: bool) -> str:
    """A line for each task: where it runs, where it is ready and waits. A column shows what there is most of in it."""
    until_s = max((part.ended_s for part in run.segments), default=0.0) or 1.0
    shown = works[:ROWS_MAX]
    labels = [_label(work, emoji) for work in shown]
    columns = max(10, width - (3 if emoji else 0) - max(map(len, labels)) - 2)
    lines = [
        f"{label:{max(map(len, labels))}}  {_bar(work, run, until_s / columns, columns, emoji).rstrip()}".rstrip()
        for label, work in zip(labels, shown, strict=True)
    ]
    until = f"{until_s:.6g} s"
    lines.append(f"{'':{max(map(len, labels)) + (1 if emoji else 0)}}  0{until:>{columns - 1}}")
    if len(works) > len(shown):
        lines.append(f"and {len(works) - len(shown)} more tasks; --html FILE draws them all")
    return "\n".join(lines)


def _label(work: Work, emoji: bool) -> str:
    kind = work.type.icon if emoji else work.type.value
    name = "".join(letter if letter.isprintable() else "?" for letter in work.name)
    return f"{kind} {name[:NAME_MAX]}"


def _bar(work: Work, run: Run, column_s: float, columns: int, emoji: bool) -> str:
    ran = [0.0] * columns
    for part in run.segments:
        if part.key == work.key:
            for column in range(int(part.began_s / column_s), min(columns, int(part.ended_s / column_s) + 1)):
                left_s = column * column_s
                ran[column] += max(0.0, min(part.ended_s, left_s + column_s) - max(part.began_s, left_s))
    ended_s = run.times[work.key].ended_s or 0.0
    runs, waits = ("█", "░") if emoji else ("#", ".")
    return "".join(
        runs if part >= column_s / 2 or (part and int(work.arrives_s / column_s) == column)
        else waits if work.arrives_s < (column + 0.5) * column_s < ended_s
        else (runs if part else " ")
        for column, part in enumerate(ran)
    )  # fmt: skip


def page(works: Sequence[Work], runs: Mapping[str, Run], figures: Sequence[Mapping[str, Any]]) -> str:
    data = {
        "tasks": [[work.name, work.type.icon, work.type.value, work.submitter, work.arrives_s] for work in works],
        "policies": [
            {
                "figures": figure,
                "segments": [list(part) for part in run.segments],
                "ended": [run.times[work.key].ended_s for work in works],
            }
            for run, figure in zip(runs.values(), figures, strict=True)
        ],
    }
    template = resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    # Inside a script element nothing but its end tag means anything.
    return template.replace(_PLACE, json.dumps(data).replace("</", "<\\/"))
