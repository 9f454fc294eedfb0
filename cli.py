"""The command `potluck`: its entry, its printer, and the only reader of argv and of config.toml.

`VERBS` names every verb; a verb's module is imported when it is used, so that `potluck --help` answers at once.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TextIO

import click

from .overlay.descriptors import words_of
from .overlay.errors import Cancelled, ConfigError, PotluckError, Unavailable, UsageError
from .verbs import standard_streams
from .verbs.answer import Answer, Interrupted, Session
from .verbs.rendering import json_text, printable

EXIT_DONE: Final = 0
EXIT_FAILED: Final = 1
EXIT_USAGE: Final = 2

VERBS: Final = {
    "up": "Start a node on this machine.",
    "down": "Stop running nodes.",
    "invite": "Let another machine into the mesh.",
    "join": "Put this machine into another one's mesh.",
    "peers": "List the nodes of the mesh.",
    "mesh": "Who is of the mesh: members, ban, rotate.",
    "status": "Show one node.",
    "audit": "Who has run whose what on a node.",
    "doctor": "Say what is wrong here, and what to do about it.",
    "run": "Run a file or a function on the mesh.",
    "map": "Run a function for every line of a file.",
    "instruct": "Run instructions by kind: a1 a2 b1.",
    "jobs": "List your jobs.",
    "job": "Show a job, or forget it.",
    "result": "Show what a job has computed.",
    "logs": "Show what a job's tasks have printed.",
    "cancel": "Cancel a job.",
    "explain": "Say why a job's tasks wait.",
    "history": "List jobs that are over.",
    "mem": "Use the mesh's memory: set, get, del, incr.",
    "ps": "List processes: tasks in execution.",
    "tree": "Show which processes have come from which.",
    "kill": "End a process, its tree or its group.",
    "suspend": "Let a process stand still.",
    "resume": "Let a suspended process go on.",
    "migrate": "Let a process go on at another node.",
    "pause": "Lend nothing, until `potluck lend`.",
    "lend": "Lend again after `potluck pause`.",
    "policy": "Show or change how a node schedules its tasks.",
    "schedulers": "Compare the scheduling policies on one workload.",
    "demo": "Show the whole thing on this machine in a minute.",
    "sim": "Run thousands of nodes in virtual time.",
}

_CONFIGURED: Final = ("up", "doctor")
"""The doctor looks at what a node would use."""

NEEDLESS: Final = ("TRACKER_HOST", "TRACKER_PORT", "MANAGER_HOST", "MANAGER_PORT")
"""Variables of systems with a head node."""


class _Verbs(click.Group):
    """Finds verbs by name without importing the others."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        module = importlib.import_module(f".verbs.{cmd_name}", __package__)
        command: click.Command = module.command
        if cmd_name in _CONFIGURED:
            ctx.default_map = {
                cmd_name: settings_of(ctx.obj, importlib.import_module(".verbs.up", __package__).command)
            }
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Verbs"):
            formatter.write_dl(list(VERBS.items()))


def _version(context: click.Context, _parameter: click.Parameter, wanted: bool) -> None:
    if wanted:
        from . import __version__

        click.echo(f"potluck {__version__}")
        context.exit()


COMMAND: Final = _Verbs(
    "potluck",
    help="The machines on a LAN as one computer. Nobody is in charge.",
    epilog="Begin with `potluck up` on each machine, or see it all with `potluck demo`.",
    params=[
        click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version, help="Say it.")
    ],
)


def main(argv: Sequence[str] | None = None) -> int:
    standard_streams.make_usable()
    try:
        return _run(argv)
    finally:
        standard_streams.let_go()


def _run(argv: Sequence[str] | None) -> int:
    arguments = list(sys.argv[1:] if argv is None else argv)
    as_json = "--json" in (arguments[: arguments.index("--")] if "--" in arguments else arguments)
    try:
        return _show(_answer(arguments, os.environ), as_json)
    except (click.ClickException, UsageError) as error:
        return _complain(UsageError(_one_line(_traced(error))), as_json, EXIT_USAGE)
    except PotluckError as error:
        return _complain(error, as_json, EXIT_FAILED)
    except (Interrupted, KeyboardInterrupt, click.Abort):
        return _complain(Cancelled("interrupted"), as_json, EXIT_FAILED)
    except BrokenPipeError:  # whoever read our output has gone
        return EXIT_FAILED
    except OSError as error:
        # A full disk, a folder that is not ours, no more open files: nothing a traceback would help with.
        where = f"{error.filename}: " if error.filename else ""
        return _complain(Unavailable(f"{where}{words_of(error)}"), as_json, EXIT_FAILED)


def _answer(arguments: list[str], environment: Mapping[str, str]) -> Answer:
    if sys.flags.optimize:
        raise UsageError("python -O switches off the checks that potluck relies on: run it without")

    def show(event: Mapping[str, object], line: str) -> None:  # from any thread, which click's own context is not for
        print(json.dumps(event) if session.as_json else line, flush=True)

    for argument in arguments:
        try:
            argument.encode()
        except UnicodeEncodeError:
            raise UsageError(f"the argument {argument!r} is no text in UTF-8") from None
    session = Session(environment, show)
    for name in NEEDLESS:
        if name in environment:
            print(f"{name}: not needed, nobody is in charge here", file=sys.stderr)
    result = COMMAND.main(arguments or ["--help"], prog_name="potluck", standalone_mode=False, obj=session)
    return result if isinstance(result, Answer) else Answer(None, exit_code=int(result or 0), told=True)


def settings_of(session: Session, command: click.Command) -> dict[str, str | list[str]]:
    """Of the user's config.toml, as they would be typed: below the environment, which is below the flags. What is no
    setting is for the command to refuse."""
    import tomllib

    file = session.surroundings.data_dir / "config.toml"
    try:
        settings = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigError(f"{file}: {error.strerror}") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"{file}: {error}") from None
    session.settings = settings
    options = {flag: one for one in command.params if isinstance(one, click.Option) for flag in one.opts}
    typed = {}
    for name, value in settings.items():
        if (option := options.get(f"--{name}")) is not None and option.name:
            if option.multiple != isinstance(value, list):
                raise UsageError(f"{file}: {name} {'is a list' if option.multiple else 'is one value, no list'}")
            if (words := _typed(file, name, value, option)) is not None:
                typed[option.name] = words
    return typed


def _typed(file: Path, name: str, value: object, option: click.Option) -> str | list[str] | None:
    """None for what is left out. Where a flag has a value of its own, true is that."""
    if isinstance(value, bool) and not option.is_flag and isinstance(option.flag_value, str):
        return option.flag_value if value else None
    if isinstance(value, list):
        return [_word(file, name, one) for one in value]
    return _word(file, name, value)


def _word(file: Path, name: str, value: object) -> str:
    if not isinstance(value, str | int | float):
        raise UsageError(f"{file}: {name} is text, a number, or true or false")
    if "\0" in (word := str(value)):
        raise UsageError(f"{file}: {name} has a character that cannot be typed")
    return word


def _show(answer: Answer, as_json: bool) -> int:
    if not answer.told:
        if as_json:
            print(json_text(answer.value))
        elif answer.out:
            print(answer.out, end="" if answer.out.endswith("\n") else "\n")
        sys.stdout.flush()
        if answer.notes:
            print(answer.notes.rstrip("\n"), file=sys.stderr)
    return answer.exit_code


def _complain(error: PotluckError, as_json: bool, exit_code: int) -> int:
    if as_json:
        _say(json.dumps({"error": {"kind": error.kind, "message": str(error)}}), sys.stdout)
    _say(f"potluck: {_one_line(error)}", sys.stderr)
    return exit_code


def _say(line: str, stream: TextIO) -> None:
    """Where even that cannot be said, the exit code tells."""
    with suppress(OSError):
        print(line, file=stream, flush=True)


def _traced(error: Exception) -> Exception:
    """A value that click refuses is blamed on where it was said: the flag, the variable, or the user's file."""
    if not isinstance(error, click.BadParameter) or error.ctx is None or error.param is None or not error.param.name:
        return error
    match error.ctx.get_parameter_source(error.param.name):
        case click.core.ParameterSource.ENVIRONMENT:
            variables = error.param.envvar or ()
            names = [variables] if isinstance(variables, str) else variables
            error.param_hint = next(name for name in names if os.environ.get(name))
        case click.core.ParameterSource.DEFAULT_MAP:
            error.param_hint = f"config.toml, {error.param.opts[0].lstrip('-')}"
    return error


def _one_line(error: Exception) -> str:
    """Some of it may be the words of another machine: nothing in them acts on a terminal."""
    text = error.format_message() if isinstance(error, click.ClickException) else str(error)
    return printable(" ".join(text.split()) or type(error).__name__)
