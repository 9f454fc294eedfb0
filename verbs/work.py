"""What `run`, `map` and `instruct` share: options, waiting, and the report of a job."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..client.connection import Connection
from ..client.files import Home, setting_of
from ..client.futures import Job, TaskFuture
from ..client.options import job_options_of
from ..overlay.errors import (
    Cancelled,
    NotAllowed,
    PotluckError,
    RemoteProtocolError,
    ResultNotEncodable,
    TaskFailed,
    Unavailable,
    UsageError,
    from_wire,
)
from ..overlay.wire import values
from ..overlay.wire.control import JobOptions
from ..overlay.wire.setting import Setting
from ..overlay.wire.work import Fault
from .rendering import duration_text, jsonable

F = TypeVar("F", bound=Callable[..., Any])

EPOCH: Final = 1
"""Of a job whose client waits for it: its master is the node the client talks to, from beginning to end."""


def job_options(function: F) -> F:
    """The options that say how tasks are run."""
    for option in (
        click.option("--on", metavar="NAME", default="", help="Run on this node only."),
        click.option("--at-most-once", is_flag=True, help="Never run it again once it may have begun."),
        click.option("--retry-errors", type=click.IntRange(min=0), default=0, metavar="N", help="When it fails.  [0]"),
        click.option("--retries", type=click.IntRange(min=0), metavar="N", help="When a worker is lost.  [3]"),
        click.option(
            "--timeout",
            type=click.FloatRange(min=0, min_open=True),
            envvar=["POTLUCK_TASK_TIMEOUT", "TASK_TIMEOUT"],
            metavar="S",
            help="Kill a task that takes longer.",
        ),
        click.option("--priority", default="medium", metavar="high|medium|low|N", help="Higher goes first."),
        click.option("--cache/--no-cache", help="Take the result of an equal run before, where there is one.  [no]"),
        click.option("--confidential", is_flag=True, help="Nothing of it leaves the node you talk to."),
    ):
        function = option(function)
    return function


def ship_option(function: F) -> F:
    """For programs in files: packages to send along."""
    text = "Send this pure-Python package along; may be repeated. Your own modules go by themselves."
    return click.option("--ship", multiple=True, metavar="PACKAGE", help=text)(function)


def setting_options(function: F) -> F:
    """What tasks find around them, and what comes home from there."""
    for option in (
        click.option(
            "--output", "output_globs", multiple=True, metavar="GLOB", help="Files to bring home from its folder."
        ),
        click.option("--input", "input_files", multiple=True, metavar="FILE", help="Put this file into its folder."),
        click.option("--env", multiple=True, metavar="K=V", help="Set a variable of its environment."),
    ):
        function = option(function)
    return function


def take_setting(options: dict[str, Any]) -> Setting | None:
    """Takes the options above out of all that were given. Raises UsageError, LimitExceeded."""
    variables = {}
    for given in options.pop("env"):
        name, equals, value = given.partition("=")
        if not equals:
            raise UsageError(f"--env {given}: write it NAME=VALUE")
        variables[name] = value
    return setting_of(variables, options.pop("input_files"), options.pop("output_globs"))


def bring_home(job: Job, setting: Setting | None) -> None:
    """Outputs of its tasks go into the current folder."""
    if setting is not None and setting.outputs:
        job.home = Home(Path.cwd(), setting.outputs)


def options_from(**given: Any) -> JobOptions:
    """Of the options above. Raises UsageError."""
    return job_options_of(**given)


@dataclass(frozen=True)
class Done:
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
        names = [name for task in self.tasks for name in task["files"]]
        brought = f"brought home: {', '.join(names)}" if names else ""
        return "\n".join(note for note in (self.who(), brought, self.complaints()) if note)

    def who(self) -> str:
        """Which nodes ran it, for a person."""
        if len(self.tasks) == 1:
            (task,) = self.tasks
            attempts = f", attempt {task['attempts']}" if task["attempts"] > 1 else ""
            if task["node"] is None:
                return "ran nowhere"
            if not task["started_s"]:
                return f"was lost on {task['node']}{attempts}"
            if task["cached"]:
                return f"not run: {task['node']} ran the same before"
            return f"ran on {task['node']} in {duration_text(task['elapsed_s'])}{attempts}"
        shares = Counter(task["node"] for task in self.tasks if task["node"])
        return f"{len(self.tasks)} tasks: " + ", ".join(f"{node} ran {count}" for node, count in sorted(shares.items()))


def finish(connection: Connection, job: Job, futures: Sequence[TaskFuture]) -> Done:
    """Waits for all. Raises what befell the job as a whole: the node gone, or the job refused."""
    tasks, values = [], []
    for future in futures:
        error = future.exception()
        if future.finished is None and isinstance(error, PotluckError):
            raise error
        value = future.result() if error is None else None
        values.append(value)
        tasks.append(_task(f"{job.id}/{future.index}", future, value, error))
    states = {task["state"] for task in tasks}
    state = next((each for each in ("failed", "cancelled") if each in states), "completed")
    record: dict[str, Any] = {
        "job": job.id,
        "state": state,
        "master": connection.greeted.result().name,
        "epoch": EPOCH,
        "unfenced": False,
        "tasks": tasks,
    }
    if failed := next((task["error"] for task in tasks if task["error"] is not None), None):
        record["error"] = {"kind": failed["kind"], "message": failed["message"]}
    return Done(record, tuple(values))


def _task(name: str, future: TaskFuture, value: object, error: BaseException | None) -> dict[str, Any]:
    finished = future.finished
    assert finished is not None
    state = "completed" if error is None else "cancelled" if isinstance(error, Cancelled) else "failed"
    return {
        "task": name,
        "state": state,
        "value": jsonable(value),
        "error": None if error is None else _error(finished.fault, error),
        "node": future.node or None,
        "attempts": finished.attempt + 1,
        "cached": finished.cached,
        "started_s": finished.started_s,
        "elapsed_s": finished.elapsed_s,
        "stdout": finished.stdout.decode(errors="replace"),
        "stderr": finished.stderr.decode(errors="replace"),
        "guarantees": finished.guarantees.as_dict(),
        "files": list(future.files),
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
    return next((line for line in text.splitlines() if line.strip()), text)
