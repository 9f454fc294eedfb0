"""What is to be run under every policy: given in a file, drawn, or recorded on a node.

A file is a JSON list of objects, or one object a line:
`{"name", "arrives_s", "runs_s", "waits_s", "priority", "submitter", "function", "estimate_s", "type"}`. Only `runs_s`
must be there; as a list it is bursts, between which the task waits for `waits_s` each.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta

from ...overlay.errors import UsageError
from ..processes.types import ProcessType

TASKS_MAX: Final = 100_000
LIVE_MAX: Final = 2_000
"""Of what is run for real."""
BYTES_MAX: Final = 64 << 20
DAYS_MAX_S: Final = 1e7
"""Of one time in a workload: what is longer is a mistake."""

_Time = Annotated[float, Meta(ge=0, le=DAYS_MAX_S)]
_Burst = Annotated[float, Meta(gt=0, le=DAYS_MAX_S)]
_Name = Annotated[str, Meta(max_length=100)]


class Given(msgspec.Struct, forbid_unknown_fields=True):
    """As a file says it."""

    runs_s: _Burst | Annotated[list[_Burst], Meta(min_length=1, max_length=1000)]
    name: _Name = ""
    arrives_s: _Time = 0.0
    waits_s: _Time = 0.0
    priority: Annotated[int, Meta(ge=-1_000_000, le=1_000_000)] = 0
    submitter: _Name = "me"
    function: _Name = ""
    estimate_s: _Time | None = None
    type: ProcessType = ProcessType.USER


class Work(msgspec.Struct, frozen=True, eq=False):
    """A task of a workload, as policies see it. `key` is its place in it."""

    key: int
    name: str
    arrives_s: float
    bursts_s: tuple[float, ...]
    waits_s: float = 0.0
    priority: int = 0
    submitter: str = "me"
    function: str = ""
    estimate_s: float | None = None
    type: ProcessType = ProcessType.USER

    @property
    def runs_s(self) -> float:
        return sum(self.bursts_s)


def parse(text: str, source: str) -> list[Work]:
    """Raises UsageError, which names the place."""
    if len(text) > BYTES_MAX:
        raise UsageError(f"{source}: longer than {BYTES_MAX >> 20} MiB")
    rows = _rows(text, source)
    if not rows:
        raise UsageError(f"{source}: no tasks in it")
    if len(rows) > TASKS_MAX:
        raise UsageError(f"{source}: {len(rows)} tasks, at most {TASKS_MAX}")
    return [_work(number, row, source) for number, row in enumerate(rows)]


def _rows(text: str, source: str) -> list[Any]:
    if text.lstrip().startswith("["):
        rows = _json(text, source)
        assert isinstance(rows, list)
        return rows
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    return [_json(line, f"{source}, line {number}") for number, line in lines]


def _json(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{where}: no JSON: {error}") from None


def _work(number: int, row: object, source: str) -> Work:
    try:
        given = msgspec.convert(row, Given)
    except msgspec.ValidationError as error:
        raise UsageError(f"{source}, task {number + 1}: {error}") from None
    bursts_s = tuple(given.runs_s) if isinstance(given.runs_s, list) else (given.runs_s,)
    name = given.name or f"t{number + 1}"
    rest = (given.priority, given.submitter, given.function or name, given.estimate_s, given.type)
    return Work(number, name, given.arrives_s, bursts_s, given.waits_s, *rest)


def mixed(tasks: int, seed: int) -> list[Work]:
    """Three kinds side by side: short ones that mostly wait, medium ones, and long ones that only compute."""
    draw = random.Random(seed)  # noqa: S311 (a workload, no secret)
    works, now_s = [], 0.0
    for number in range(tasks):
        now_s += draw.expovariate(1.0)
        kind = draw.choices(tuple(_BURSTS), (5, 3, 2))[0]
        submitter = draw.choice(("ann", "bo", "cy"))
        works.append(_drawn(draw, number, round(now_s, 3), kind, submitter))
    return works


_BURSTS: Final = {
    ProcessType.USER: (3, 0.03),
    ProcessType.AI_INFERENCE: (1, 0.5),
    ProcessType.DATA_PROCESSING: (1, 3.0),
}
"""How many, and how long about."""
_PRIORITIES: Final = {ProcessType.USER: 1, ProcessType.AI_INFERENCE: 0, ProcessType.DATA_PROCESSING: -1}


def _drawn(draw: random.Random, number: int, arrives_s: float, kind: ProcessType, submitter: str) -> Work:
    count, about_s = _BURSTS[kind]
    bursts_s = tuple(round(about_s * draw.uniform(0.5, 1.5), 3) for _ in range(count))
    estimate_s = round(sum(bursts_s) * draw.uniform(0.8, 1.2), 3)
    rest = (_PRIORITIES[kind], submitter, kind.value, estimate_s, kind)
    return Work(number, f"t{number + 1}", arrives_s, bursts_s, 0.2 if count > 1 else 0.0, *rest)


def recorded(entries: Iterable[Mapping[str, Any]], source: str, tasks_max: int = TASKS_MAX) -> list[Work]:
    """The last that a node has run, by its audit log: a task arrives when it began there. Raises UsageError."""
    ran = [(task["started_s"], task["elapsed_s"], entry) for entry in entries for task in entry["tasks"]]
    ran = sorted(((at_s, took_s, entry) for at_s, took_s, entry in ran if took_s > 0), key=lambda one: one[0])
    if not ran:
        raise UsageError(f"{source}: its log has no tasks")
    ran = ran[-tasks_max:]
    first_s = ran[0][0]
    return [_ran(number, at_s - first_s, took_s, entry) for number, (at_s, took_s, entry) in enumerate(ran)]


def hurried(works: Iterable[Work], times: float) -> list[Work]:
    """The same, so many times as fast."""
    return [
        msgspec.structs.replace(
            work,
            arrives_s=work.arrives_s / times,
            bursts_s=tuple(burst_s / times for burst_s in work.bursts_s),
            waits_s=work.waits_s / times,
            estimate_s=None if work.estimate_s is None else work.estimate_s / times,
        )
        for work in works
    ]


def _ran(number: int, arrives_s: float, took_s: float, entry: Mapping[str, Any]) -> Work:
    name = f"{entry['job'][:8]}/{number}"
    return Work(number, name, arrives_s, (took_s,), submitter=entry["owner"], function=entry.get("program", name))
