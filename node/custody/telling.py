"""What a person is told of a job, as the contract has it."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Mapping

from ...overlay.ids import NodeId
from ...overlay.wire.joblog import Ended, Entry
from ...overlay.wire.questions import LINES_MAX, TaskLine
from ..jobs.batches import report_bytes
from ..jobs.tasks import Job
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
        "tasks_ended": job.total - len(job.tasks),
    }


def counted(entries: Iterable[Entry]) -> Counts:
    counts = Counts()
    for entry in entries:
        counts.take(entry)
    return counts


def ended_lines(entries: Iterable[Entry]) -> Iterator[TaskLine]:
    for entry in entries:
        if isinstance(entry, Ended):
            for report in entry.reports:
                yield TaskLine(report.index, "ended", entry.node, entry.own, report)


def open_lines(job: Job | None, names: Mapping[NodeId, str]) -> Iterator[TaskLine]:
    """Of tasks without an outcome, as their master's engine has them."""
    for index, task in (job.tasks if job is not None else {}).items():
        node = names.get(task.node, "") if task.node is not None else ""
        yield TaskLine(index, "running" if task.started else "pending", node)


def page(lines: Iterable[TaskLine], first: int) -> tuple[list[TaskLine], int]:
    """Those from index `first` on, in order, as many as fit into a message; and where to go on, 0 for nowhere."""
    chosen: list[TaskLine] = []
    size_bytes = 0
    wanted = heapq.nsmallest(LINES_MAX, (line for line in lines if line.index >= first), key=lambda line: line.index)
    for line in wanted:
        size_bytes += 100 + (report_bytes(line.finished) if line.finished is not None else 0)
        if chosen and size_bytes > _LINES_BYTES_MAX:
            return chosen, line.index
        chosen.append(line)
    return chosen, (wanted[-1].index + 1 if len(wanted) == LINES_MAX else 0)
