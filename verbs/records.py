"""The record of a job as the contract has it, and what a person is told of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from ..overlay.errors import (
    Cancelled,
    NotAllowed,
    NoWorker,
    RemoteProtocolError,
    ResultNotEncodable,
    TaskFailed,
    Unavailable,
    WorkerLost,
    from_wire,
)
from ..overlay.wire import values
from ..overlay.wire.questions import TaskLine
from ..overlay.wire.work import Fault, Finished
from .rendering import duration_text, jsonable, printable

Record = dict[str, Any]

OVER: Final = ("completed", "failed", "cancelled")
"""States of a job or task that change no more."""


class Done(msgspec.Struct, frozen=True):
    """A job that has ended, with a record per task as the contract has it."""

    record: dict[str, Any]
    values: tuple[Any, ...]
    """Of the tasks in order; None where there is none."""

    @property
    def tasks(self) -> list[dict[str, Any]]:
        tasks: list[dict[str, Any]] = self.record["tasks"]
        return tasks

    @property
    def faults(self) -> list[dict[str, Any]]:
        return [task for task in self.tasks if task["error"] is not None]

    @property
    def exit_code(self) -> int:
        return 1 if self.faults else 0

    def complaints(self) -> str:
        """Every distinct fault: the remote traceback, then one line."""
        seen: Counter[tuple[str, str, str]] = Counter(
            (task["error"]["traceback"], task["error"]["kind"], task["error"]["message"]) for task in self.faults
        )
        return "\n".join(
            f"{traceback.rstrip()}\npotluck: {kind}: {_first_line(message)}".lstrip()
            + (f" ({count} tasks)" if count > 1 else "")
            for (traceback, kind, message), count in seen.items()
        )

    def notes(self) -> str:
        """What a person is told beside the values."""
        counts = Counter(printable(name) for task in self.tasks for name in task["files"])
        names = [name if count == 1 else f"{name} (of one of {count} tasks)" for name, count in counts.items()]
        brought = f"brought home: {', '.join(names)}" if names else ""
        return "\n".join(note for note in (self.who(), brought, self.complaints()) if note)

    def who(self) -> str:
        """Which nodes ran it, for a person."""
        if len(self.tasks) == 1:
            (task,) = self.tasks
            attempts = f", attempt {task['attempts']}" if task["attempts"] > 1 else ""
            if task["node"] is None:
                return "ran nowhere"
            if task["state"] not in OVER:
                begun = f" for {duration_text(task['elapsed_s'])}" if task["state"] == "running" else ""
                return f"runs on {task['node']}{begun}{attempts}"
            if task["error"] is not None and task["error"]["kind"] == WorkerLost.__name__:
                return f"was lost on {task['node']}{attempts}"
            if task["cached"]:
                return f"not run: {task['node']} ran the same before"
            return f"ran on {task['node']} in {duration_text(task['elapsed_s'])}{attempts}"
        shares = Counter(
            (task["node"], "ran" if task["state"] in OVER else "runs") for task in self.tasks if task["node"]
        )
        told = ", ".join(f"{node} {does} {count}" for (node, does), count in sorted(shares.items()))
        return f"{len(self.tasks)} tasks{': ' if told else ''}{told}"


def done_of(record: Record, tasks: Sequence[Record], values: Sequence[Any]) -> Done:
    """`record` without its tasks."""
    record = {**record, "tasks": list(tasks)}
    if failed := next((task["error"] for task in tasks if task["error"] is not None), None):
        record["error"] = {"kind": failed["kind"], "message": failed["message"]}
    return Done(record, tuple(values))


def state_of(tasks: Sequence[Record]) -> str:
    """Of a job whose tasks have all ended."""
    states = {task["state"] for task in tasks}
    return next((each for each in ("failed", "cancelled") if each in states), "completed")


def ended_task(name: str, node: str, finished: Finished, value: object, error: BaseException | None) -> Record:
    state = "completed" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
    return {
        "task": name,
        "state": state,
        "value": jsonable(value),
        "error": None if error is None else _error(finished.fault, error),
        "node": node or None,
        "attempts": finished.attempt + (not isinstance(error, NoWorker)),
        "cached": finished.cached,
        "started_s": finished.started_s,
        "elapsed_s": finished.elapsed_s,
        "stdout": finished.stdout.decode(errors="replace"),
        "stderr": finished.stderr.decode(errors="replace"),
        "guarantees": finished.guarantees.as_dict(),
        "files": [],
    }


def _error(fault: Fault | None, error: BaseException) -> dict[str, str]:
    if fault is None and isinstance(error, NotAllowed | Unavailable | RemoteProtocolError):  # of the files it brought
        return {"kind": error.kind, "message": str(error), "traceback": ""}
    if fault is None:  # the task went well, but its result is nothing to show
        message = f"the result is not plain data: {values.REMEDY}"
        return {"kind": ResultNotEncodable.__name__, "message": message, "traceback": ""}
    kind = from_wire(fault.code, "").kind
    name = fault.exception_type.rpartition(".")[2]
    message = fault.message
    if fault.code == TaskFailed.wire_code and name and not message.startswith(name):
        message = f"{name}: {message}" if message else name
    return {"kind": kind, "message": message, "traceback": fault.traceback}


def _first_line(text: str) -> str:
    return printable(next((line for line in text.splitlines() if line.strip()), text))


def open_task(name: str, line: TaskLine) -> Record:
    """One without an outcome."""
    return {
        "task": name,
        "state": line.state,
        "value": None,
        "error": None,
        "node": line.node or None,
        "attempts": line.attempts,
        "cached": False,
        "started_s": line.started_s,
        "elapsed_s": line.ran_s,
        "stdout": "",
        "stderr": "",
        "guarantees": {},
        "files": [],
    }
