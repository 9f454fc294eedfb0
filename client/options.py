"""How a function is to be run: `potluck.options(timeout=5, retries=1)(f)`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Final, Generic, Literal, ParamSpec, TypeVar

from ..overlay.errors import UsageError
from ..overlay.wire.control import JobOptions

P = ParamSpec("P")
R = TypeVar("R")

Priority = Literal["high", "medium", "low"] | int

PRIORITIES: Final = {"high": 10, "medium": 0, "low": -10}
"""A higher number is more urgent."""


class Optioned(Generic[P, R]):
    """A function with its options. Called here, it is just the function."""

    def __init__(self, function: Callable[P, R], options: JobOptions) -> None:
        functools.update_wrapper(self, function)
        self.function = function
        self.options = options

    @property
    def is_per_call(self) -> bool:
        """Whether something was said that holds for one call, not for several together."""
        default = JobOptions()
        return self.options.timeout_s != default.timeout_s or self.options.retries != default.retries

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)


def options(
    *,
    timeout: float | None = None,
    retries: int | None = None,
    priority: Priority = "medium",
    confidential: bool = False,
    on: str = "",
) -> Callable[[Callable[P, R]], Optioned[P, R]]:
    """Wraps a function so that an executor runs it under these options.

    timeout       seconds that one run may take; its process is killed then, and `TaskTimedOut` raised
    retries       how often a task is run again when its worker is lost
    priority      "high", "medium", "low" or a number; higher goes first
    confidential  nothing of it leaves the node of this program
    on            the name of the one node to run it
    """
    job_options = job_options_of(timeout=timeout, retries=retries, priority=priority, confidential=confidential, on=on)
    return lambda function: Optioned(function, job_options)


def job_options_of(
    *,
    timeout: float | None = None,
    retries: int | None = None,
    priority: Priority | str = "medium",
    confidential: bool = False,
    on: str = "",
) -> JobOptions:
    """Raises UsageError for what makes no sense."""
    if timeout is not None and not 0 < timeout < float("inf"):
        raise UsageError(f"timeout {timeout}: must be a positive number of seconds")
    if retries is not None and retries < 0:
        raise UsageError(f"retries {retries}: cannot be negative")
    default = JobOptions()
    return JobOptions(
        timeout_s=None if timeout is None else float(timeout),
        retries=default.retries if retries is None else retries,
        priority=priority_of(priority),
        confidential=confidential,
        on=on,
    )


def priority_of(priority: Priority | str) -> int:
    if isinstance(priority, int):
        return priority
    if priority in PRIORITIES:
        return PRIORITIES[priority]
    try:
        return int(priority)
    except ValueError:
        raise UsageError(f"priority {priority!r}: high, medium, low or a whole number") from None
