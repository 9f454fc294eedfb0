"""What a verb is given and what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec

import click

if TYPE_CHECKING:
    from ..client.surroundings import Surroundings

P = ParamSpec("P")


class Interrupted(Exception):
    """Ctrl+C, once the verb has cleaned up."""


@dataclass(frozen=True)
class Answer:
    """`value` is what `--json` prints; `out` and `notes` are what a person sees on stdout and stderr."""

    value: object
    out: str = ""
    notes: str = ""
    exit_code: int = 0
    told: bool = False
    """Everything has been said already, event by event."""


@dataclass
class Session:
    """One run of the command. `show` prints one event of a stream: an object for `--json`, a line for people."""

    environment: Mapping[str, str]
    show: Callable[[Mapping[str, object], str], None]
    as_json: bool = False
    node: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Of the user's config.toml."""

    @cached_property
    def surroundings(self) -> Surroundings:
        from ..client.surroundings import surroundings_of

        return surroundings_of(self.environment)


def verb(
    name: str, *, summary: str, epilog: str | None = None, cls: type[click.Command] = click.Command
) -> Callable[[Callable[Concatenate[Session, P], Answer]], click.Command]:
    """A click command that is handed the session first, with the options every verb has."""

    def make(function: Callable[Concatenate[Session, P], Answer]) -> click.Command:
        options = list(reversed(getattr(function, "__click_params__", [])))

        def callback(*args: P.args, **kwargs: P.kwargs) -> Answer:
            try:
                return function(click.get_current_context().obj, *args, **kwargs)
            except KeyboardInterrupt:
                raise Interrupted from None  # click would print an empty line of its own

        return cls(
            name,
            callback=callback,
            params=[*options, *_common()],
            help=function.__doc__ or summary,
            short_help=summary,
            epilog=epilog,
            context_settings={"show_default": False},
        )

    return make


def _common() -> list[click.Parameter]:
    def remember_json(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
        context.obj.as_json = context.obj.as_json or value

    def remember_node(context: click.Context, _parameter: click.Parameter, value: str | None) -> None:
        context.obj.node = value

    return [
        click.Option(
            ["--node"],
            metavar="NAME",
            expose_value=False,
            callback=remember_node,
            help="The node to talk to.",
        ),
        click.Option(
            ["--json", "as_json"],
            is_flag=True,
            expose_value=False,
            callback=remember_json,
            is_eager=True,
            help="Answer with JSON.",
        ),
    ]
