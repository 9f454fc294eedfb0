"""What a master is told of a task that has ended or is not run here."""

from __future__ import annotations

from typing import Final

from ...overlay.errors import (
    BadProgram,
    LimitExceeded,
    OutOfMemory,
    PotluckError,
    RemoteProtocolError,
    ResultNotEncodable,
    TaskFailed,
    WorkerLost,
)
from ...overlay.wire.work import Fault, Finished, Returned, Started
from ..processes.process import State
from .events import Reply
from .tasks import Task, Worker

_WORKERS_WORD: Final = frozenset(
    cls.wire_code
    for cls in (TaskFailed, BadProgram, ResultNotEncodable, RemoteProtocolError, LimitExceeded, OutOfMemory)
)
"""Faults that a worker may state; it is not believed about those that are the node's to find."""


def fault_for(error: PotluckError) -> Fault:
    return Fault(error.wire_code, str(error))


def started(now_s: float, task: Task, *, brief: bool = False) -> Started:
    """How it is with it; `brief`: without its checkpoint."""
    suspended = task.process.state is State.SUSPENDED and not task.yields
    checkpoint = None if brief else task.checkpoint
    ran_s = 0.0 if task.begun_s is None else now_s - task.begun_s
    return Started(task.index, task.attempt, task.is_parent or suspended, suspended, checkpoint, ran_s)


def returned(index: int, attempt: int, reason: PotluckError, *, begun: bool = False) -> Returned:
    return Returned(index, attempt, reason.wire_code, str(reason)[:250], begun)


def forgotten(index: int, attempt: int) -> Finished:
    return Finished(index, attempt, fault=fault_for(WorkerLost("its node knows no more whether it has run")))


def cut_short(task: Task, fault: Fault, now_s: float, mesh_ahead_s: float) -> Finished:
    """The report of a run that was ended before its worker could say that it had."""
    begun_s = now_s if task.begun_s is None else task.begun_s
    return Finished(task.index, task.attempt, fault=fault, started_s=begun_s + mesh_ahead_s, elapsed_s=now_s - begun_s)


def judged(task: Task, reply: Reply, elapsed_s: float, mesh_ahead_s: float, worker: Worker) -> Finished:
    """The report of a task that its worker says has ended."""
    value, fault = reply.value, reply.fault
    if fault is not None and fault.code not in _WORKERS_WORD:
        fault = Fault(TaskFailed.wire_code, fault.message)
    elif fault is None and (value is None or (reply.pickled and not task.may_pickle)):
        fault = fault_for(ResultNotEncodable("the worker process sent no value that may be passed on"))
    assert task.begun_s is not None
    return Finished(
        task.index,
        task.attempt,
        value=value if fault is None else None,
        fault=fault,
        pickled=reply.pickled and fault is None,
        started_s=task.begun_s + mesh_ahead_s,
        elapsed_s=elapsed_s,
        stdout=reply.stdout,
        stderr=reply.stderr,
        guarantees=worker.guarantees,
        with_files=reply.with_files,
    )
