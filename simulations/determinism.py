"""One trace per seed.

trio shuffles runnable tasks on purpose, with a generator of its own, unless a private switch says that the order may
be deterministic; then it sorts them first, and the generator's seed fixes the trace. Hypothesis uses the same two
names. No other file of ours touches them, and a test fails on the day trio changes them.

The third private name is the queue of runnable tasks, out of which the tasks of a frozen node are kept; the fourth the
deadlines that tasks wait for. By these two the clock knows how far it may go before the loop has to turn. The fifth is
what asks the system for sockets that are ready. There are none but the one by which Ctrl+C wakes the loop: it is looked
at now and then.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import trio
import trio._core._run as trio_run

from ..overlay.errors import reason
from ..overlay.outbox import depart_by_clock
from .timeline import Timeline

T = TypeVar("T")

_SWITCH: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"
_GENERATOR: Final = "_r"
_TURNS_UNPOLLED: Final = 64


def run(main: Callable[..., Awaitable[T]], *args: Any, seed: int) -> T:
    """Runs `main` in virtual time: the clock jumps to the next deadline whenever every task waits.

    The same seed gives the same trace, provided nothing inside uses a thread, a socket, a clock or randomness of
    its own, or the order of a set.
    """
    with _deterministic(seed):
        try:
            # Ctrl+C is heard at checkpoints: in the middle of a step it would leave a coroutine that nobody awaits.
            return trio.run(
                _looking_up_rarely,
                main,
                *args,
                clock=Timeline(_awaited_s),
                restrict_keyboard_interrupt_to_checkpoints=True,
            )
        except BaseExceptionGroup as group:
            raise reason(group) from None


async def _looking_up_rarely(main: Callable[..., Awaitable[T]], *args: Any) -> T:
    runner: Any = trio_run.GLOBAL_RUN_CONTEXT.runner
    runner.io_manager = _RarelyPolled(runner.io_manager)
    depart_by_clock()
    return await main(*args)


def _awaited_s() -> float | None:
    runner: Any = trio_run.GLOBAL_RUN_CONTEXT.runner
    deadline_s: float = runner.deadlines.next_deadline()
    return None if runner.runq else deadline_s


class _RarelyPolled:
    """Spares a call of the system in most turns of the loop."""

    def __init__(self, polled: Any) -> None:
        self._polled = polled
        self._turns = 0
        self.process_events = polled.process_events

    def get_events(self, timeout_s: float) -> Any:
        self._turns += 1
        if timeout_s > 0 or self._turns % _TURNS_UNPOLLED == 0:
            return self._polled.get_events(timeout_s)
        return ()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._polled, name)


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


class Frozen(trio.abc.Instrument):
    """A process that is stopped, as SIGSTOP stops it: this task and all below it take no step until they are thawed.

    Time goes on meanwhile, deadlines pass, others may send: all of that is found afterwards, at once.
    """

    def __init__(self, root: trio.lowlevel.Task) -> None:
        self._root = root
        self._runner = trio_run.GLOBAL_RUN_CONTEXT.runner
        self._held: list[trio.lowlevel.Task] = []
        trio.lowlevel.add_instrument(self)
        for task in list(self._runner.runq):
            if self._is_below(task):
                self._runner.runq.remove(task)
                self._held.append(task)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._is_below(task):
            assert self._runner.runq.pop() is task
            self._held.append(task)

    def _is_below(self, task: trio.lowlevel.Task | None) -> bool:
        while task is not None and task is not self._root:
            task = None if task.parent_nursery is None else task.parent_nursery.parent_task
        return task is self._root

    def thaw(self) -> None:
        trio.lowlevel.remove_instrument(self)
        self._runner.runq.extend(self._held)
        self._held.clear()
