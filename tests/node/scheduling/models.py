"""What each policy means, told again as simply as can be: one processor, whole seconds, plain lists.

Each model says who runs in every second; None while nobody is there.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from potluck.node.scheduling.workload import Work

Seconds = list[int | None]


@dataclass
class Left:
    """What is left of the work, second by second."""

    works: list[Work]
    seconds: Seconds = field(default_factory=list)

    def __post_init__(self) -> None:
        self.left = {work.key: round(work.runs_s) for work in self.works}

    def there(self, now: int) -> list[Work]:
        return [work for work in self.works if work.arrives_s <= now and self.left[work.key]]

    def run(self, key: int | None) -> None:
        if key is not None:
            self.left[key] -= 1
        self.seconds.append(key)

    def goes_on(self) -> bool:
        return any(self.left.values())


def first_come(works: list[Work]) -> Seconds:
    state = Left(works)
    while state.goes_on():
        there = state.there(len(state.seconds))
        state.run(min(there, key=lambda work: (work.arrives_s, work.key)).key if there else None)
    return state.seconds


def to_the_end(works: list[Work], rank: Callable[[Work], float]) -> Seconds:
    """Whenever the processor is free, the lowest rank; of equals, the first that came."""
    state = Left(works)
    while state.goes_on():
        there = state.there(len(state.seconds))
        if not there:
            state.run(None)
            continue
        chosen = min(there, key=lambda work: (rank(work), work.arrives_s, work.key))
        while state.left[chosen.key]:
            state.run(chosen.key)
    return state.seconds


def always(works: list[Work], rank: Callable[[Work], float]) -> Seconds:
    """In every second, the lowest rank; of equals, the first that came."""
    state = Left(works)
    while state.goes_on():
        there = state.there(len(state.seconds))
        state.run(min(there, key=lambda one: (rank(one), one.arrives_s, one.key)).key if there else None)
    return state.seconds


def by_turns(works: list[Work], quantum: int) -> Seconds:
    state, queue, now, used = Left(works), [], 0, 0
    running: int | None = None
    while state.goes_on():
        queue += [work.key for work in works if work.arrives_s == now]
        if running is not None and used == quantum:
            queue.append(running)
            running = None
        if running is None and queue:
            running, used = queue.pop(0), 0
        state.run(running)
        now, used = now + 1, used + 1
        if running is not None and not state.left[running]:
            running = None
    return state.seconds


def feedback(works: list[Work], quanta: list[int], aging: int) -> Seconds:
    state, now, rises_at = Left(works), 0, 0
    levels: list[list[int]] = [[] for _ in quanta]
    level, used = {work.key: 0 for work in works}, {work.key: 0 for work in works}
    running: int | None = None
    turn = allowed = 0
    while state.goes_on():
        arrived = [work.key for work in works if work.arrives_s == now]
        over = running is not None and (turn == allowed or not state.left[running])
        if (arrived or over) and now >= rises_at:  # nobody looks at the clock in between
            rises_at = now + aging
            levels = [[key for one in levels for key in one], *([] for _ in quanta[1:])]
            level, used = dict.fromkeys(level, 0), dict.fromkeys(used, 0)
        levels[0] += arrived
        if running is not None and not state.left[running]:
            running = None
        best = next((number for number, keys in enumerate(levels) if keys), None)
        pushed = running is not None and not over and best is not None and best < level[running]
        if running is not None and (over or pushed):
            used[running] += turn
            if used[running] >= quanta[level[running]]:
                level[running], used[running] = min(level[running] + 1, len(quanta) - 1), 0
                levels[level[running]].append(running)
            else:
                levels[level[running]].insert(0, running)
            running = None
        if running is None:
            running = next((keys.pop(0) for keys in levels if keys), None)
            if running is not None:
                turn, allowed = 0, quanta[level[running]] - used[running]
        state.run(running)
        now, turn = now + 1, turn + 1
    return state.seconds


def shared(works: list[Work], quantum: int) -> Seconds:
    state, now, turn, floor = Left(works), 0, 0, 0
    queue: list[Work] = []
    had: dict[str, int] = {}
    running: Work | None = None
    while state.goes_on():
        if running is not None and not state.left[running.key]:
            had[running.submitter] += turn
            running, turn = None, 0
        for work in (work for work in works if work.arrives_s == now):
            here = [*queue, *([running] if running else [])]
            if all(other.submitter != work.submitter for other in here):
                had[work.submitter] = max(had.get(work.submitter, 0), floor)
            queue.append(work)
        if running is not None and turn == quantum:
            had[running.submitter] += turn
            queue.append(running)
            running, turn = None, 0
        if running is None and queue:
            least = min(had[work.submitter] for work in queue)
            running = next(work for work in queue if had[work.submitter] == least)
            queue.remove(running)
            floor = max(floor, least)
        state.run(None if running is None else running.key)
        now, turn = now + 1, turn + (running is not None)
    return state.seconds
