"""A machine of some processors that runs a workload under a policy, in virtual time.

At equal times what ends comes first, then what arrives, then slices that are over: the textbooks' order. What runs goes
on without a switch when its slice is over and the policy picks it again.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ...overlay.errors import LimitExceeded
from .policy import SLICE_TOLERANCE_S, Policy
from .times import Statistics, Times
from .workload import Work

SEGMENTS_MAX: Final = 50_000
"""Of the chart; the figures go on."""
STEPS_MAX: Final = 3_000_000


class Segment(NamedTuple):
    """On one processor, without a break."""

    processor: int
    key: int
    began_s: float
    ended_s: float


class Run(msgspec.Struct):
    """What became of a workload."""

    statistics: Statistics = msgspec.field(default_factory=Statistics)
    times: dict[int, Times] = {}
    segments: list[Segment] = []
    queue_lengths_max: list[int] = []


class _Processor(msgspec.Struct):
    number: int
    work: Work | None = None
    picked_s: float = 0.0
    segment_s: float = 0.0
    burst_ends_s: float = math.inf
    slice_ends_s: float = math.inf


class Machine:
    def __init__(self, policy: Policy[Work], *, processors: int = 1) -> None:
        self._policy = policy
        self._processors = [_Processor(number) for number in range(processors)]
        self._left: dict[Work, list[float]] = {}
        """Bursts that are still to come, the next one last."""
        self._arriving: list[tuple[float, int, Work]] = []
        self._now_s = 0.0
        self.run = Run()

    def play(self, works: Sequence[Work]) -> Run:
        """Raises LimitExceeded for what would take too long, such as years in slices of a millisecond."""
        for work in works:
            self._left[work] = list(reversed(work.bursts_s))
            heapq.heappush(self._arriving, (work.arrives_s, work.key, work))
        steps = 0
        while self._left:
            if (steps := steps + 1) > STEPS_MAX:
                raise LimitExceeded(f"{self._policy.name}: after {STEPS_MAX} steps this workload has not ended")
            self._now_s = self._next_s()
            self._end_bursts()
            self._arrive()
            self._end_slices()
            self._push_away()
            self._fill()
        return self.run

    def _next_s(self) -> float:
        arrives_s = self._arriving[0][0] if self._arriving else math.inf
        return min(arrives_s, *(min(one.burst_ends_s, one.slice_ends_s) for one in self._processors))

    def _end_bursts(self) -> None:
        for processor in self._processors:
            if processor.work is not None and processor.burst_ends_s <= self._now_s + SLICE_TOLERANCE_S:
                self._burst_over(processor, processor.work)

    def _burst_over(self, processor: _Processor, work: Work) -> None:
        times, ran_s = self.run.times[work.key], self._ran_s(processor)
        bursts = self._left[work]
        bursts.pop()
        if bursts:
            times.stopped(self._now_s)
            self._policy.blocked(self._now_s, work, ran_s)
            heapq.heappush(self._arriving, (self._now_s + work.waits_s, work.key, work))
        else:
            times.ended(self._now_s)
            self._policy.ended(self._now_s, work, ran_s)
            self.run.statistics.add(times)
            del self._left[work]
        self._vacate(processor)

    def _arrive(self) -> None:
        while self._arriving and self._arriving[0][0] <= self._now_s:
            work = heapq.heappop(self._arriving)[2]
            if work.key in self.run.times:
                self.run.times[work.key].ready(self._now_s)
            else:
                self.run.times[work.key] = Times(self._now_s)
                self.run.statistics.began(self._now_s)
            self._policy.add(self._now_s, work)
        lengths, most = self._policy.lengths(), self.run.queue_lengths_max
        most += [0] * (len(lengths) - len(most))
        most[: len(lengths)] = map(max, most, lengths)

    def _end_slices(self) -> None:
        """All at once, so that whoever comes next may go on wherever it is."""
        over = [one for one in self._processors if one.work and one.slice_ends_s <= self._now_s + SLICE_TOLERANCE_S]
        for processor in over:
            assert processor.work is not None
            self._stop(processor.work, processor)
        for processor in over:
            self._give(processor)

    def _push_away(self) -> None:
        """Each arrival at most once for each processor."""
        for _ in self._processors:
            running = [one for one in self._processors if one.work is not None]
            head = self._policy.peek(self._now_s)
            if head is None or len(running) < len(self._processors):
                return
            worst = max(running, key=self._rank)
            if self._policy.rank(head, 0.0) >= self._rank(worst):
                return
            assert worst.work is not None
            self._stop(worst.work, worst)
            self._give(worst)

    def _fill(self) -> None:
        for processor in self._processors:
            if processor.work is None and (work := self._policy.pick(self._now_s)) is not None:
                self._start(processor, work)

    def _stop(self, work: Work, processor: _Processor) -> None:
        ran_s = self._ran_s(processor)
        self._left[work][-1] -= ran_s
        self.run.times[work.key].ready(self._now_s)
        self._policy.preempted(self._now_s, work, ran_s)

    def _give(self, processor: _Processor) -> None:
        """To whoever comes next, which may be who was stopped just now."""
        before, after = processor.work, self._policy.pick(self._now_s)
        assert after is not None
        if after is before:
            self._run_on(processor, after)
            return
        self.run.statistics.switched()
        self._vacate(processor)
        self._start(processor, after)

    def _start(self, processor: _Processor, work: Work) -> None:
        processor.work = work
        processor.segment_s = self._now_s
        self._run_on(processor, work)

    def _run_on(self, processor: _Processor, work: Work) -> None:
        self.run.times[work.key].started(self._now_s)
        processor.picked_s = self._now_s
        processor.burst_ends_s = self._now_s + self._left[work][-1]
        processor.slice_ends_s = self._now_s + self._policy.slice_s(work)

    def _vacate(self, processor: _Processor) -> None:
        assert processor.work is not None
        if self._now_s > processor.segment_s and len(self.run.segments) < SEGMENTS_MAX:
            self.run.segments.append(Segment(processor.number, processor.work.key, processor.segment_s, self._now_s))
        processor.work = None
        processor.burst_ends_s = processor.slice_ends_s = math.inf

    def _ran_s(self, processor: _Processor) -> float:
        return self._now_s - processor.picked_s

    def _rank(self, processor: _Processor) -> float:
        assert processor.work is not None
        return self._policy.rank(processor.work, self._ran_s(processor))


def compared(name: str, run: Run) -> dict[str, Any]:
    """What the contract says of one policy; of queues, the longest that each level has been."""
    return run.statistics.summary(name, run.queue_lengths_max)
