"""What people type: JSON, sizes, and where to be on the network."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable
from typing import Any, Final

import click

from ..client.sizes import size_of
from ..overlay.config import SANDBOXES, Quota
from ..overlay.errors import ConfigError, UsageError

_YES: Final = ("1", "true", "yes", "on")


_QUOTAS: Final = ("cpu", "total-cpu", "memory", "disk")


def json_of(text: str) -> object:
    """Raises ValueError for what is not JSON, and for what would not come out as it was written."""
    try:
        return json.loads(text, parse_float=_finite, parse_constant=_no_number)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is too large for a number")
    return number


def _no_number(text: str) -> float:
    raise ValueError(f"JSON knows no {text}")


class Counts(click.IntRange):
    """Whole numbers of a range."""

    name = "whole number"


class Numbers(click.FloatRange):
    """Those of a range; what Python also takes for a number and is none, or has no end, lies in no range."""

    name = "number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = float(super().convert(value, param, ctx))
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number.", param, ctx)
        return number


def check_interface(interface: str | None) -> None:
    """Raises UsageError for one that this machine has not."""
    from ..overlay.transport.interfaces import choose

    try:
        choose(interface)
    except ConfigError as error:
        raise UsageError(str(error)) from None


def policy(spec: str) -> str:
    """As it was written, if there is such a policy."""
    from ..node.scheduling.catalogue import make

    try:
        make(spec)
    except ConfigError as error:
        raise click.BadParameter(str(error)) from None
    return spec


def quota_of(text: str) -> Quota:
    """Of `cpu=3600,total-cpu=7200,memory=4G,disk=10G`. Raises UsageError."""
    read: dict[str, float] = {}
    for given in filter(None, map(str.strip, text.split(","))):
        name, _, value = given.partition("=")
        if name not in _QUOTAS or not value:
            raise UsageError(f"quota {given!r}: write it as in {','.join(f'{one}=…' for one in _QUOTAS)}")
        if name in read:
            raise UsageError(f"quota: {name} is said twice")
        try:
            read[name] = float(value) if name in ("cpu", "total-cpu") else size_of(value)
        except ValueError:
            raise UsageError(f"quota {given!r}: seconds of CPU time in 24 hours") from None
        if not 0 <= read[name] < math.inf:
            raise UsageError(f"quota {given!r}: an amount is expected")
        if not read[name]:
            raise UsageError(f"quota {given!r}: more than 0; whoever lends nothing says so with `potluck pause`")
    if not read:
        raise UsageError("quota: it is empty; leave it out, or write cpu=SECONDS")
    kept = {name: int(read.get(name, 0)) for name in ("memory", "disk")}
    return Quota(read.get("cpu", 0.0), read.get("total-cpu", 0.0), kept["memory"], kept["disk"])


def size(text: str) -> int:
    """Bytes, of `1500000`, `512M` or `2G`."""
    try:
        return size_of(text)
    except UsageError as error:
        raise click.BadParameter(str(error)) from None


class _SandboxOption(click.Option):
    """`USE_DOCKER` says it, too, for whoever comes from a system where it did."""

    def resolve_envvar_value(self, ctx: click.Context) -> str | None:
        asked = os.environ.get("USE_DOCKER", "").strip().lower() in _YES
        return super().resolve_envvar_value(ctx) or ("docker" if asked else None)


def sandbox_option(help_text: str) -> Callable[[Any], Any]:
    return click.option(
        "--sandbox",
        cls=_SandboxOption,
        type=click.Choice(SANDBOXES),
        default="auto",
        envvar=["POTLUCK_SANDBOX"],
        help=help_text,
    )
