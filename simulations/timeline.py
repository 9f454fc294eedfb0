"""Virtual time: trio's clock and everything that is going to happen, in one heap.

trio asks its clock how long to sleep only when no task can run. Nothing inside a simulation waits for the real world,
so the answer is never to sleep: time moves on at once to whatever comes first, a deadline of trio's or an arrival
here. Arrivals are plain calls, made between two turns of the loop: no task has to wake up for them, and as long as they
wake none, the loop does not turn.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

import trio

from ..overlay.outbox import end_turn


class Timeline(trio.abc.Clock):
    """Time begins at zero and moves only while every task waits. `awaited_s()`: which deadline the tasks wait for, or
    None while one of them can run.

    It does not wait for tasks in `trio.testing.wait_all_tasks_blocked`: with such a task it moves on all the same.
    """

    def __init__(self, awaited_s: Callable[[], float | None]) -> None:
        self._awaited_s = awaited_s
        self._now_s = 0.0
        self._number = 0
        self._arrivals: list[tuple[float, float, int, Callable[[], None]]] = []

    def at(self, time_s: float, arrive: Callable[[], None], rank: float = 0.0) -> None:
        """Calls `arrive` at this time; of several at one time, the lower rank first, and of equals in the order of
        these calls."""
        self._number += 1
        heapq.heappush(self._arrivals, (time_s, rank, self._number, arrive))

    async def pause(self, seconds: float) -> None:
        """`trio.sleep`, without the scope and the deadline that half of its time goes into."""
        sleeping = [trio.lowlevel.current_task()]

        def wake() -> None:
            if sleeping:
                trio.lowlevel.reschedule(sleeping.pop())

        def give_up(_: object) -> trio.lowlevel.Abort:
            sleeping.clear()
            return trio.lowlevel.Abort.SUCCEEDED

        self.at(self._now_s + seconds, wake)
        await trio.lowlevel.wait_task_rescheduled(give_up)

    def start_clock(self) -> None:
        """Nothing to start."""

    def current_time(self) -> float:
        return self._now_s

    def deadline_to_sleep_time(self, deadline: float) -> float:
        end_turn()  # what was said now is on its way from now on
        arrivals = self._arrivals
        while (awaited_s := self._awaited_s()) is not None and awaited_s > self._now_s:
            next_s = min(awaited_s, arrivals[0][0]) if arrivals else awaited_s
            if next_s == math.inf:
                return math.inf  # everything waits for ever: what a program that hangs does
            self._now_s = max(self._now_s, next_s)
            while arrivals and arrivals[0][0] <= self._now_s:
                heapq.heappop(arrivals)[-1]()
            end_turn()
        return 0


def timeline() -> Timeline:
    """That of the simulation this is called in."""
    clock = trio.lowlevel.current_clock()
    assert isinstance(clock, Timeline), "not inside a simulation"
    return clock
