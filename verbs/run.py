"""`potluck run`."""

from __future__ import annotations

import sys
from concurrent.futures import CancelledError
from typing import Any, Final

import click
import msgspec

from ..client.files import body_of_setting
from ..client.input import is_waiting
from ..client.programs import Body, body_of
from ..overlay.errors import UsageError
from ..overlay.wire import values
from ..overlay.wire.work import Inline
from .answer import Answer, Session, verb
from .asking import connected
from .following import finish_lasting
from .programs import Source, call_arguments, check_function, libraries_of, source_of
from .records import Done
from .rendering import text_of
from .work import (
    bring_home,
    check_lasting,
    detached,
    finish,
    job_options,
    lasting_options,
    options_from,
    setting_options,
    ship_option,
    take_setting,
)

_UNREAD: Final = (
    "potluck: what is piped here is not read: with --detach, --durable and --cache a script has no input; "
    "--input FILE sends a file along"
)


@verb("run", summary="Run a file or a function on the mesh.")
@click.argument("file", required=False)
@click.argument("argv", nargs=-1, type=click.UNPROCESSED)
@click.option("-c", "source", metavar="SOURCE", help="Run this text instead of a file.")
@click.option("--function", metavar="F", help="Call this function of it, and show what it returns.")
@click.option("--args", "args", metavar="JSON", help="A list: positional; an object: keyword arguments.")
@ship_option
@setting_options
@lasting_options
@job_options
def command(
    session: Session,
    /,
    file: str | None,
    argv: tuple[str, ...],
    source: str | None,
    function: str | None,
    args: str | None,
    ship: tuple[str, ...],
    detach: bool,
    durable: bool,
    **options: Any,
) -> Answer:
    """Run FILE.py as a script, or one of its functions, on the mesh. What follows `--` is the script's."""
    if source is not None and file is not None:
        argv, file = (file, *argv), None
    program = source_of(file, source)
    check_lasting(detach or durable, options["cache"])
    setting = take_setting(options)
    needs = (*libraries_of(program, ship), *body_of_setting(setting))
    body, arguments = _program(program, argv, function, args, needs)
    wanted = msgspec.structs.replace(
        options_from(**options),
        lasting=detach or durable,
        streams_output=not (session.as_json or detach or durable),
        takes_input=function is None and not (options["cache"] or detach or durable),
    )
    if function is None and not wanted.takes_input and is_waiting():
        print(_UNREAD, file=sys.stderr, flush=True)
    with connected(session, redials=not wanted.lasting) as connection:
        if detach:
            return detached(connection, wanted, body, [arguments])
        job = connection.open_job(wanted, as_reports=True)
        bring_home(job, setting)
        future = job.submit(body, arguments)
        if durable:
            done = finish_lasting(session, connection, job, [future])
            return _whole_answer(done, with_value=function is not None)
        connection.printer.on_broken = future.kill
        try:
            done = finish(session, connection, job, [future])
        except CancelledError:
            assert connection.printer.broken is not None, "nobody else cancels it"
            raise BrokenPipeError from connection.printer.broken
        connection.printer.flush()
        if connection.printer.broken is not None:
            raise BrokenPipeError from connection.printer.broken
        return _answer(done, with_value=function is not None, at_line_start=connection.printer.at_line_start)


def _program(
    program: Source, argv: tuple[str, ...], function: str | None, args: str | None, libraries: tuple[Body, ...]
) -> tuple[Body, Inline]:
    if function is None:
        if args is not None:
            raise UsageError("--args goes with --function; a script's arguments follow `--`")
        body = body_of("script", program.text.encode(), file_name=program.name, libraries=libraries)
        return body, values.encode(list(argv))
    if argv:
        raise UsageError("arguments of a function are given with --args")
    check_function(program, function)
    body = body_of("function", program.text.encode(), entry=function, file_name=program.name, libraries=libraries)
    return body, values.encode(call_arguments(args or "[]", where="--args"))


def _answer(done: Done, *, with_value: bool, at_line_start: bool) -> Answer:
    """What it printed has been shown."""
    (value,) = done.values
    shown = text_of(value) if with_value and not done.faults else ""
    if shown and not at_line_start:
        shown = "\n" + shown
    return Answer(done.record, shown, done.notes(), done.exit_code)


def _whole_answer(done: Done, *, with_value: bool) -> Answer:
    """What it printed came with its result."""
    (task,), (value,) = done.tasks, done.values
    lines = [task["stdout"].rstrip("\n"), text_of(value) if with_value and not done.faults else ""]
    notes = [task["stderr"].rstrip("\n"), done.notes()]
    return Answer(done.record, "\n".join(filter(None, lines)), "\n".join(filter(None, notes)), done.exit_code)
