"""Calls that wait for the system, beside everything else where a thread can be had for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

_NO_THREAD: Final = "can't start new thread"


async def beside(call: Callable[[*Ts], T], *args: *Ts, limiter: trio.CapacityLimiter | None = None) -> T:
    """As `trio.to_thread.run_sync`. Where the system has no thread left the call holds everybody up for as long as it
    takes: so a machine that is short of processes is slow, and loses nothing."""
    try:
        return await trio.to_thread.run_sync(call, *args, limiter=limiter)
    except RuntimeError as error:
        if str(error) != _NO_THREAD:
            raise
        return call(*args)
