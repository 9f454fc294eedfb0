"""What `run`, `map` and `instruct` share: options, waiting, and the report of a job."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from ..client.connection import Connection
from ..client.files import Home, setting_of
from ..client.futures import Job, TaskFuture
from ..client.options import job_options_of
from ..client.programs import Body
from ..overlay.errors import PotluckError, UsageError
from ..overlay.wire.control import JobOptions
from ..overlay.wire.processes import TYPES
from ..overlay.wire.setting import Setting
from ..overlay.wire.work import Inline
from .answer import Answer, Session
from .patience import Patience
from .reading import Counts, Numbers, size
from .records import Done, done_of, ended_task, state_of
from .sealing import send_detached

F = TypeVar("F", bound=Callable[..., Any])

_EMPTY: Final = "it is empty: leave it out, or write NAME=VALUE"
EPOCH: Final = 1
"""Of a job whose client waits for it: its master is the node the client talks to, from beginning to end."""


def _needs(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> dict[str, object]:
    needs: dict[str, object] = {}
    labels: list[str] = []
    if not all(map(str.strip, texts)):
        raise click.BadParameter(_EMPTY)
    for given in filter(None, map(str.strip, ",".join(texts).split(","))):
        name, equals, value = given.partition("=")
        if not equals:
            raise click.BadParameter(f"{given!r}: write it NAME=VALUE")
        if name == "label":
            labels.append(value)
        elif needs.setdefault(name, read := _need(name, value)) != read:
            raise click.BadParameter(f"{name} is said twice: {needs[name]} and {read}")
    return {**needs, "label": labels}


def _need(name: str, value: str) -> object:
    if name in ("cpu", "gpu") and value.isascii() and value.isdecimal():
        return int(value)
    return size(value) if name == "ram" else value


def _limits(_context: click.Context, _parameter: click.Parameter, text: str | None) -> dict[str, object]:
    limits: dict[str, object] = {}
    if text is not None and not text.strip():
        raise click.BadParameter(_EMPTY)
    for given in filter(None, map(str.strip, (text or "").split(","))):
        name, equals, value = given.partition("=")
        if not equals:
            raise click.BadParameter(f"{given!r}: write it NAME=VALUE")
        if name in limits:
            raise click.BadParameter(f"{name} is said twice")
        try:
            limits[name] = float(value) if name == "cpu" else int(value) if name == "processes" else size(value)
        except ValueError:
            raise click.BadParameter(f"{given!r}: {value!r} is no number") from None
    return limits


def _name(_context: click.Context, _parameter: click.Parameter, name: str | None) -> str:
    if name is not None and not name.strip():
        raise click.BadParameter("it names no node")
    return name or ""


def job_options(function: F) -> F:
    """The options that say how tasks are run."""
    for option in (
        click.option(
            "--needs",
            callback=_needs,
            multiple=True,
            metavar="cpu=2,ram=1G,…",
            help="Run where each task can have this for itself; gpu=N and label=K:V, too; may be repeated.",
        ),
        click.option(
            "--limits",
            callback=_limits,
            metavar="memory=1G,cpu=60,…",
            help="End it when it takes more; processes=N, disk=SIZE, output=SIZE, too.",
        ),
        click.option(
            "--estimate",
            type=Numbers(min=0, min_open=True),
            metavar="S",
            help="How long it will run, for nodes that run the shortest first.",
        ),
        click.option("--type", "process_type", type=click.Choice(TYPES), help="What `potluck ps` shows it as."),
        click.option("--on", callback=_name, metavar="NAME|ID", help="Run on this node only."),
        click.option("--at-most-once", is_flag=True, help="Never run it again once it may have begun."),
        click.option("--retry-errors", type=Counts(min=0), default=0, metavar="N", help="When it fails.  [0]"),
        click.option("--retries", type=Counts(min=0), metavar="N", help="When a worker is lost.  [3]"),
        click.option(
            "--timeout",
            type=Numbers(min=0, min_open=True),
            envvar=["POTLUCK_TASK_TIMEOUT", "TASK_TIMEOUT"],
            metavar="S",
            help="Kill a task that takes longer.",
        ),
        click.option("--priority", default="medium", metavar="high|medium|low|N", help="Higher goes first."),
        click.option("--cache/--no-cache", help="Take the result of an equal run before, where there is one.  [no]"),
        click.option("--network", is_flag=True, help="Let it use the network, where owners allow it."),
        click.option("--confidential", is_flag=True, help="Nothing of it leaves the node you talk to."),
    ):
        function = option(function)
    return function


def lasting_options(function: F) -> F:
    """For jobs that go on without the program that submitted them."""
    for option in (
        click.option("--durable", is_flag=True, help="Wait for it; it goes on all the same when this ends."),
        click.option("--detach", is_flag=True, help="Do not wait: print the job's name once the job is safe."),
    ):
        function = option(function)
    return function


def check_lasting(lasting: bool, cache: bool) -> None:
    """Raises UsageError."""
    if lasting and cache:
        raise UsageError("--cache is for jobs that are waited for: leave it out, or --detach and --durable")


def detached(connection: Connection, options: JobOptions, body: Body, arguments: Sequence[Inline]) -> Answer:
    """A task for each of the arguments, all of them safe. Raises as `send_detached`."""
    job = connection.open_job(options, as_reports=True, detached=True)
    opened = send_detached(connection, job, body, arguments)
    notes = f"follow it with `potluck job {opened}`, here or on any other of your nodes"
    if options.confidential:
        notes = f"it is confidential, and ends with this node: `potluck job {opened}`"
    return Answer({"job": opened}, opened, notes)


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


def finish(session: Session, connection: Connection, job: Job, futures: Sequence[TaskFuture]) -> Done:
    """Waits for all. Raises what befell the job as a whole: the node gone, or the job refused."""
    tasks, values = [], []
    patience = Patience(session, connection, job, futures)
    for future in futures:
        error = patience.wait(future)
        if future.finished is None and isinstance(error, PotluckError):
            raise error
        value = future.result() if error is None else None
        values.append(value)
        assert future.finished is not None
        name = f"{job.id}/{future.index}"
        tasks.append({**ended_task(name, future.node, future.finished, value, error), "files": list(future.files)})
    record = {
        "job": job.id,
        "state": state_of(tasks),
        "master": connection.node_name,
        "epoch": EPOCH,
        "unfenced": False,
    }
    return done_of(record, tasks, values)
