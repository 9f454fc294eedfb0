"""Calls that wait for the system, beside everything else where a thread can be had for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NO_THREAD: Final = "can't start new thread"


def is_lacking(error: RuntimeError) -> bool:
    """Whether it says that the system has no thread left."""
    return str(error) == _NO_THREAD


async def beside(
    call: Callable[[*Ts], T],
    *args: *Ts,
    limiter: trio.CapacityLimiter | None = None,
    abandon_on_cancel: bool = False,
) -> T:
    """As `trio.to_thread.run_sync`. Where the system has no thread left the call holds everybody up for as long as it
    takes: so a machine that is short of processes is slow, and loses nothing."""
    try:
        return await trio.to_thread.run_sync(call, *args, limiter=limiter, abandon_on_cancel=abandon_on_cancel)
    except RuntimeError as error:
        if not is_lacking(error):
            raise
        return call(*args)
