"""What a person is told of a job, as the contract has it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from ...overlay.ids import NodeId
from ...overlay.wire.joblog import Ended, Entry, Given
from ...overlay.wire.questions import LINES_MAX, TaskLine
from ..jobs.batches import report_bytes
from ..jobs.tasks import Job
from .mastery import Mastery
from .story import Counts

_LINES_BYTES_MAX = 640 << 10

Row = dict[str, object]


def row(job: str, counts: Counts, *, master: str, epoch: int, unfenced: bool) -> Row:
    """A job as one of a list. `counts` are of what was shown."""
    opened = counts.opened
    return {
        "job": job,
        "state": counts.state,
        "master": master,
        "epoch": epoch,
        "unfenced": unfenced,
        "lasting": True,
        "submitter": opened.submitter if opened is not None else "",
        "submitted_s": opened.submitted_s if opened is not None else 0.0,
        "tasks_total": counts.tasks,
        "tasks_ended": counts.ended,
        "tasks_failed": counts.failed,
    }


def attached_row(job: Job, master: str) -> Row:
    """A job whose client waits for it."""
    return {
        "job": job.job_id,
        "state": "running" if any(job.at.values()) else "pending",
        "master": master,
        "epoch": job.epoch,
        "unfenced": False,
        "lasting": False,
        "submitter": master,
        "submitted_s": job.submitted_s,
        "tasks_total": job.total,
        "tasks_ended": job.total - job.unfinished,
    }


def progress(told: Row) -> list[int]:
    """Of two rows of one job the higher counts: its master tells more than a deputy, and a later master more than one
    before."""
    steps = (told.get("epoch"), told.get("tasks_total"), told.get("tasks_ended"))
    return [step if isinstance(step, int) else 0 for step in steps]


def counted(entries: Iterable[Entry]) -> Counts:
    counts = Counts()
    for entry in entries:
        counts.take(entry)
    return counts


def outcomes_in(entries: Iterable[Entry]) -> set[int]:
    """Tasks whose outcomes stand there."""
    return {report.index for entry in entries if isinstance(entry, Ended) for report in entry.reports}


def beginnings_in(entries: Iterable[Entry]) -> set[int]:
    """Tasks of which it stands there that they may begin."""
    return {index for entry in entries if isinstance(entry, Given) for index in entry.indexes}


def ended_lines(entry: Entry | None) -> Iterator[TaskLine]:
    if isinstance(entry, Ended):
        for report in entry.reports:
            yield TaskLine(report.index, "ended", entry.node, entry.own, report)


class Now(NamedTuple):
    """The same moment by the clock of this process, which engines go by, and by the mesh's."""

    here_s: float
    mesh_s: float


def open_line(job: Job | None, index: int, names: Mapping[NodeId, str], now: Now) -> TaskLine:
    """Of a task without an outcome, as its master's engine has it."""
    task = job.tasks.get(index) if job is not None else None
    if task is None:
        return TaskLine(index, "pending")
    node = names.get(task.node, "") if task.node is not None else ""
    if task.started_s is None:
        return TaskLine(index, "pending", node, attempts=task.begun)
    ran_s = max(0.0, now.here_s - task.started_s)
    return TaskLine(index, "running", node, attempts=task.begun, started_s=now.mesh_s - ran_s, ran_s=ran_s)


def lines_of(
    mastery: Mastery, job: Job | None, names: Mapping[NodeId, str], first: int, now: Now
) -> Iterator[TaskLine]:
    """Of every task from index `first` on, in order. An entry of the log is decoded once for all in it that follow each
    other, and what ended together mostly does."""
    number, ended = 0, dict[int, TaskLine]()
    for index in range(first, mastery.counts.tasks):
        wanted = mastery.outcomes.entry_of(index)
        if not wanted:
            yield open_line(job, index, names, now)
            continue
        if wanted != number:
            number, ended = wanted, {line.index: line for line in ended_lines(mastery.shown_entry(wanted))}
        yield ended.get(index) or TaskLine(index, "running")  # what nobody else has yet is not told


def page(lines: Iterable[TaskLine]) -> tuple[list[TaskLine], int]:
    """As many as fit into a message, of lines in order; and the index to go on from, 0 for nowhere."""
    chosen: list[TaskLine] = []
    size_bytes = 0
    for line in lines:
        size_bytes += 100 + (report_bytes(line.finished) if line.finished is not None else 0)
        if chosen and (size_bytes > _LINES_BYTES_MAX or len(chosen) == LINES_MAX):
            return chosen, line.index
        chosen.append(line)
    return chosen, 0
