"""How a function is to be run: `potluck.options(timeout=5, retries=1)(f)`."""

from __future__ import annotations

import functools
import numbers
import operator
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import FunctionType
from typing import Final, Generic, Literal, ParamSpec, TypeVar

import msgspec

from ..overlay.errors import UsageError
from ..overlay.wire.control import TO_NODE, JobOptions, OpenJob
from ..overlay.wire.processes import TYPES
from ..overlay.wire.setting import Setting
from .files import setting_of
from .needs import kind_of, limits_of, resources_of

P = ParamSpec("P")
R = TypeVar("R")

Priority = Literal["high", "medium", "low"] | int

PRIORITIES: Final = {"high": 10, "medium": 0, "low": -10}
"""A higher number is more urgent."""

PRIORITY_MAX: Final = (1 << 63) - 1
RETRIES_MAX: Final = (1 << 53) - 1
TIMEOUT_MAX_S: Final = 1e9
"""Thirty years; what is longer means none."""
ON_LENGTH_MAX: Final = 256


class Optioned(Generic[P, R]):
    """A function with its options. Called here, it is just the function."""

    def __init__(self, function: Callable[P, R], options: JobOptions, setting: Setting | None = None) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options
        self.setting = setting

    @property
    def is_per_call(self) -> bool:
        """Whether something was said that holds for one call, not for several together."""
        default = JobOptions()
        per_call = ("timeout_s", "retries", "error_retries", "backoff_s", "at_most_once", "limits")
        changed = any(getattr(self.options, name) != getattr(default, name) for name in per_call)
        return changed or self.setting is not None

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Optioned):
            return NotImplemented
        return (self.function, self.options, self.setting) == (other.function, other.options, other.setting)

    def __hash__(self) -> int:
        return hash(self.function)

    def __get__(self, instance: object, owner: type | None = None) -> Optioned[..., R]:
        """As a method, with the options of its function."""
        if instance is None and isinstance(self.function, FunctionType):
            return self
        bound = self.function.__get__(instance, owner) if hasattr(self.function, "__get__") else self.function
        return Optioned(bound, self.options, self.setting)

    def under(self, options: JobOptions, setting: Setting | None) -> Optioned[P, R]:
        """With these besides; of what both say, these hold, and what is as by default says nothing. Raises UsageError
        for what does not go together."""
        if setting is not None and self.setting is not None:
            raise UsageError("env, inputs and outputs are given in one call of options")
        default = JobOptions()
        now = msgspec.structs.asdict(options)
        said = {name: value for name, value in now.items() if value != getattr(default, name)}
        if "needs" in said or "needs_kind" in said:
            said |= {"needs": options.needs, "needs_kind": options.needs_kind}
        merged = msgspec.structs.replace(self.options, **said)
        _check_together(merged)
        if merged.at_most_once and merged.retries not in (0, default.retries):
            raise UsageError(_ONCE)
        return Optioned(self.function, merged, setting or self.setting)


def plain(function: Callable[..., R]) -> Callable[..., R]:
    """The function itself, without options."""
    return function.function if isinstance(function, Optioned) else function


def lifted(function: Callable[..., R]) -> Callable[..., R]:
    """A part of a function that has options has them, too."""
    if isinstance(function, functools.partial) and isinstance(of := lifted(function.func), Optioned):
        return Optioned(functools.partial(of.function, *function.args, **function.keywords), of.options, of.setting)
    return function


def options(
    *,
    timeout: float | None = None,
    retries: int | None = None,
    retry_errors: int = 0,
    backoff: float = 0.5,
    at_most_once: bool = False,
    priority: Priority = "medium",
    confidential: bool = False,
    network: bool = False,
    on: str = "",
    cache: bool = False,
    needs: Mapping[str, object] | None = None,
    limits: Mapping[str, object] | None = None,
    process_type: str | None = None,
    estimate: float | None = None,
    env: Mapping[str, str] | None = None,
    inputs: Iterable[str | Path] = (),
    outputs: Iterable[str] = (),
) -> Callable[[Callable[P, R]], Optioned[P, R]]:
    """Wraps a function so that an executor runs it under these options.

    timeout       seconds that one run may take; its process is killed then, and `TaskTimedOut` raised
    retries       how often a task is run again when its worker is lost
    retry_errors  how often it is run again when it raises, or takes longer than its timeout
    backoff       seconds to rest before the first of these; twice as long before the next
    at_most_once  it is never run again once it may have begun: `WorkerLost` is raised instead
    priority      "high", "medium", "low" or a number; higher goes first
    network       it uses the network, on nodes whose owners allow it
    confidential  nothing of it leaves the node of this program
    on            the one node to run it, by its name or the beginning of its id
    cache         the result of an equal call before will do, of any node of yours with the same Python and packages
    needs         what its node has to have: cpu=2, ram=bytes, gpu=1, label={"K": "V"} or "K:V", kind="k"
    limits        what it may take with all it starts, else it is ended and `LimitExceeded` raised: memory=bytes,
                  cpu=seconds, processes=number, disk=bytes, output=bytes
    process_type  what it is shown as: "ai_inference", "data_processing", "blockchain_validator", "network_node",
                  "system" or "user"
    estimate      seconds that one run will take, for nodes that run the shortest first; they learn it otherwise
    env           variables of its environment
    inputs        files, read now, that lie in its working folder; 1 MiB in all
    outputs       globs of files there that come into this program's current folder when it returns; 1 MiB in all
    """
    job_options = job_options_of(
        timeout=timeout,
        retries=retries,
        retry_errors=retry_errors,
        backoff=backoff,
        at_most_once=at_most_once,
        priority=priority,
        confidential=confidential,
        network=network,
        on=on,
        cache=cache,
        needs=needs,
        limits=limits,
        process_type=process_type,
        estimate=estimate,
    )
    setting = setting_of(env or {}, inputs, outputs)

    def wrapped(function: Callable[P, R]) -> Optioned[P, R]:
        of = lifted(function)
        return of.under(job_options, setting) if isinstance(of, Optioned) else Optioned(function, job_options, setting)

    return wrapped


def job_options_of(
    *,
    timeout: float | None = None,
    retries: int | None = None,
    retry_errors: int = 0,
    backoff: float = 0.5,
    at_most_once: bool = False,
    priority: Priority | str = "medium",
    confidential: bool = False,
    network: bool = False,
    on: str = "",
    cache: bool = False,
    needs: Mapping[str, object] | None = None,
    limits: Mapping[str, object] | None = None,
    process_type: str | None = None,
    estimate: float | None = None,
) -> JobOptions:
    """Raises UsageError for what makes no sense."""
    for name, count in (("retries", retries), ("retry_errors", retry_errors)):
        if (count is not None or name == "retry_errors") and not (
            isinstance(count, numbers.Integral) and 0 <= count <= RETRIES_MAX
        ):
            raise UsageError(f"{name} {count}: must be a whole number from 0 to {RETRIES_MAX}")
    if at_most_once and retries:
        raise UsageError(_ONCE)
    if not isinstance(on, str) or len(on) > ON_LENGTH_MAX:
        raise UsageError(f"on: must be the name of a node, which has {ON_LENGTH_MAX} letters at most")
    for name, given in (("needs", needs), ("limits", limits)):
        if given is not None and not isinstance(given, Mapping):
            raise UsageError(f"{name} {given!r}: a mapping is expected, as in {_AS_IN[name]}")
    for name, flag in (
        ("at_most_once", at_most_once),
        ("confidential", confidential),
        ("network", network),
        ("cache", cache),
    ):
        if not isinstance(flag, bool):
            raise UsageError(f"{name} {flag!r}: True or False is expected")
    if process_type not in (None, *TYPES):
        raise UsageError(f"type {process_type!r}: one of {', '.join(TYPES)}")
    default = JobOptions()
    made = JobOptions(
        timeout_s=None if timeout is None else span_s("timeout", timeout),
        retries=default.retries if retries is None else int(retries),
        priority=priority_of(priority),
        confidential=confidential,
        network=network,
        on=on,
        error_retries=int(retry_errors),
        backoff_s=span_s("backoff", backoff),
        at_most_once=at_most_once,
        cache=cache,
        needs=resources_of(needs or {}),
        needs_kind=kind_of(needs or {}),
        limits=limits_of(limits or {}),
        process_type=process_type or "",
        estimate_s=None if estimate is None else span_s("estimate", estimate),
    )
    _check_together(made)
    TO_NODE.encode_checked(OpenJob(0, made))  # what no node could read would end the connection of all other tasks
    return made


_AS_IN: Final = {"needs": "{'cpu': 2}", "limits": "{'memory': '1G'}"}
_ONCE: Final = "what runs at most once is not tried again: leave out retries and retry_errors"


def _check_together(options: JobOptions) -> None:
    """Raises UsageError for what contradicts itself."""
    if options.at_most_once and options.error_retries:
        raise UsageError(_ONCE)
    if options.network and options.confidential:
        raise UsageError("what is confidential reaches nothing outside its node: leave out network")
    if options.cache and options.confidential:
        raise UsageError("what is confidential is not kept for later: leave out cache")


def span_s(name: str, seconds: float) -> float:
    """Raises UsageError for what is no length of time that anybody would wait."""
    if not (isinstance(seconds, numbers.Real) and 0 < seconds <= TIMEOUT_MAX_S):
        raise UsageError(f"{name} {seconds}: must be a positive number of seconds, {TIMEOUT_MAX_S:.0f} at most")
    return float(seconds)


def priority_of(priority: Priority | str) -> int:
    if isinstance(priority, str) and priority in PRIORITIES:
        return PRIORITIES[priority]
    try:
        number = int(priority) if isinstance(priority, str) else int(operator.index(priority))
    except (TypeError, ValueError):
        raise UsageError(f"priority {priority!r}: high, medium, low or a whole number") from None
    if not -PRIORITY_MAX <= number <= PRIORITY_MAX:
        raise UsageError(f"priority {priority!r}: from -{PRIORITY_MAX} to {PRIORITY_MAX}")
    return number
