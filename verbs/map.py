"""`potluck map`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..client.files import body_of_setting
from ..client.programs import body_of
from ..overlay.errors import ResultNotEncodable, UsageError
from ..overlay.wire import values
from ..overlay.wire.work import Inline
from .answer import Answer, Session, verb
from .asking import connected
from .following import finish_lasting
from .programs import call_arguments, check_function, libraries_of, source_of
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


@verb("map", summary="Run a function for every line of a file.")
@click.argument("file")
@click.option("--function", required=True, metavar="F", help="The function to call.")
@click.option(
    "--inputs",
    required=True,
    metavar="INPUTS.jsonl",
    help="A JSON list of arguments per line.",
)
@ship_option
@setting_options
@lasting_options
@job_options
def command(
    session: Session,
    /,
    file: str,
    function: str,
    inputs: str,
    ship: tuple[str, ...],
    detach: bool,
    durable: bool,
    **options: Any,
) -> Answer:
    """Call a function of FILE.py once for every line of INPUTS.jsonl, on the whole mesh."""
    program = source_of(file, None)
    check_function(program, function)
    check_lasting(detach or durable, options["cache"])
    setting = take_setting(options)
    libraries = (*libraries_of(program, ship), *body_of_setting(setting))
    body = body_of("function", program.text.encode(), entry=function, file_name=program.name, libraries=libraries)
    arguments = _inputs(Path(inputs))
    wanted = msgspec.structs.replace(options_from(**options), lasting=detach or durable)
    with connected(session, redials=not wanted.lasting) as connection:
        if detach:
            return detached(connection, wanted, body, arguments)
        job = connection.open_job(wanted, as_reports=True)
        bring_home(job, setting)
        futures = [job.submit(body, inline) for inline in arguments]
        done = (finish_lasting if durable else finish)(session, connection, job, futures)
    lines = [
        text_of(value) if task["error"] is None else f"{task['error']['kind']}: {task['error']['message']}"
        for task, value in zip(done.tasks, done.values, strict=True)
    ]
    return Answer(done.record, "\n".join(lines), done.notes(), done.exit_code)


def _inputs(file: Path) -> list[Inline]:
    try:
        lines = file.read_text(encoding="utf-8-sig").split("\n")  # other ends of lines may stand within a string
    except FileNotFoundError:
        raise UsageError(f"there is no file {file}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{file} cannot be read: {error}") from None
    places = ((f"{file}, line {number}", line) for number, line in enumerate(lines, 1) if line.strip())
    return [_sent(call_arguments(line, where=where), where) for where, line in places]


def _sent(arguments: list[Any], where: str) -> Inline:
    try:
        return values.encode(arguments)
    except ResultNotEncodable:
        raise UsageError(f"{where}: nested too deep, or no text") from None
