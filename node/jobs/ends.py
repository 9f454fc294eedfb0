"""Ends of tasks that no node has reported, and what nodes report after the end."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import structs

from ...overlay.errors import Cancelled, NoWorker, WorkerLost
from ...overlay.wire.work import Fault, Finished, Report, Started
from .task import Task
from .tasks import Job

_SHOWN_MAX: Final = 200


def given_up(job: Job, task: Task, why: str, last: Finished | None) -> Finished:
    """`last`: how it has ended itself, with what it had printed; None where its node is gone."""
    said = last or Finished(task.index, task.attempt - 1)
    error = WorkerLost(f"{why}; {_why_no_more(job, task)}")
    return structs.replace(said, fault=Fault(error.wire_code, str(error)))


def _why_no_more(job: Job, task: Task) -> str:
    if job.options.at_most_once:
        return "it may have run, and is not to be run twice"
    return f"given up after {task.attempt} {'try' if task.attempt == 1 else 'tries'}"


def why_again(job: Job, task: Task, node: str, fault: Fault) -> str:
    """Of one that has failed there, and is tried again."""
    name, message = fault.exception_type.rpartition(".")[2], fault.message.partition("\n")[0][:_SHOWN_MAX]
    what = message if not name or message.startswith(name) else f"{name}: {message}" if message else name
    return f"it failed at {node}, try {task.errors} of {job.options.error_retries + 1} ({what})"


def fault_of(task: Task, error: Cancelled | NoWorker | WorkerLost) -> Finished:
    return Finished(task.index, task.attempt, fault=Fault(error.wire_code, str(error)))


def in_vain(job: Job, reports: Iterable[Report]) -> list[int]:
    """What is said to run, though it has its outcome: by a node that was held for dead meanwhile."""
    return [report.index for report in reports if isinstance(report, Started) and not job.holds(report.index)]
