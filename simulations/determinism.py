"""One trace per seed.

trio shuffles runnable tasks on purpose, with a generator of its own, unless a private switch says that the order may
be deterministic; then it sorts them first, and the generator's seed fixes the trace. Hypothesis uses the same two
names. No other file of ours touches them, and a test fails on the day trio changes them.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import trio
import trio._core._run as trio_run

from ..overlay.errors import reason
from .timeline import Timeline

T = TypeVar("T")

_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
_GENERATOR: Final = "_r"


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int) -> T:
    """Runs `main` in virtual time: the clock jumps to the next deadline whenever every task waits.

    The same seed gives the same trace, provided nothing inside uses a thread, a socket, a clock or randomness of
    its own, or the order of a set.
    """
    with _deterministic(seed):
        try:
            # Ctrl+C is heard at checkpoints: in the middle of a step it would leave a coroutine that nobody awaits.
            return trio.run(
                main,
                *args,
                clock=Timeline(),
                restrict_keyboard_interrupt_to_checkpoints=True,
            )
        except BaseExceptionGroup as group:
            raise reason(group) from None


@contextmanager
def _deterministic(seed: int) -> Iterator[None]:
    generator: random.Random = getattr(trio_run, _GENERATOR)
    switched, state = getattr(trio_run, _SWITCH), generator.getstate()
    setattr(trio_run, _SWITCH, True)
    generator.seed(seed)
    try:
        yield
    finally:
        setattr(trio_run, _SWITCH, switched)
        generator.setstate(state)
