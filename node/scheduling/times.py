"""When an item was ready, ran and ended, and what that says of a policy (Silberschatz, Galvin, Gagne, §5.2)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import msgspec


class Times(msgspec.Struct):
    """Of one item. It begins ready; `now_s` never goes back."""

    created_s: float
    first_ran_s: float | None = None
    ran_s: float = 0.0
    """Up to the last stop."""
    waited_s: float = 0.0
    """Ready and not running, up to the last start."""
    ended_s: float | None = None
    _ready_since_s: float | None = None
    _running_since_s: float | None = None

    def __post_init__(self) -> None:
        self._ready_since_s = self.created_s

    def ready(self, now_s: float) -> None:
        self.stopped(now_s)
        self._ready_since_s = now_s

    def started(self, now_s: float) -> None:
        self.stopped(now_s)
        if self.first_ran_s is None:
            self.first_ran_s = now_s
        self._running_since_s = now_s

    def stopped(self, now_s: float) -> None:
        """It neither runs nor is ready."""
        if self._running_since_s is not None:
            self.ran_s += now_s - self._running_since_s
            self._running_since_s = None
        if self._ready_since_s is not None:
            self.waited_s += now_s - self._ready_since_s
            self._ready_since_s = None

    def ended(self, now_s: float) -> None:
        self.stopped(now_s)
        self.ended_s = now_s

    def all_by(self, now_s: float) -> tuple[float, float, float]:
        """How long it has run, has waited, and is there."""
        running_s, ready_s, ended_s = self._running_since_s, self._ready_since_s, self.ended_s
        return (
            self.ran_s if running_s is None else self.ran_s + (now_s - running_s),
            self.waited_s if ready_s is None else self.waited_s + (now_s - ready_s),
            (now_s if ended_s is None else ended_s) - self.created_s,
        )

    def ran_by(self, now_s: float) -> float:
        return self.all_by(now_s)[0]

    def waited_by(self, now_s: float) -> float:
        return self.all_by(now_s)[1]

    def turnaround_by(self, now_s: float) -> float:
        return self.all_by(now_s)[2]


class RecordedTimes(Times):
    """Also from when to when it ran, each time."""

    spans: list[tuple[float, float]] = []

    @classmethod
    def of(cls, times: Times) -> Self:
        made = cls(*msgspec.structs.astuple(times))
        made._ready_since_s = times._ready_since_s
        return made

    def stopped(self, now_s: float) -> None:
        if self._running_since_s is not None:
            self.spans.append((self._running_since_s, now_s))
        super().stopped(now_s)


class Statistics:
    """Sums over those that have ended, so that they cost the same after a million."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._last_ended_s = 0.0
        self.ended = 0
        self.context_switches = 0
        self._waited_s = 0.0
        self._turnaround_s = 0.0
        self._responded = 0
        self._response_s = 0.0

    def began(self, now_s: float) -> None:
        """Something was there to run; the first time counts."""
        self._since_s = now_s if self._since_s is None else self._since_s

    def switched(self) -> None:
        """A processor was taken from what ran, which was not done, and given to something else."""
        self.context_switches += 1

    def add(self, times: Times) -> None:
        assert times.ended_s is not None
        self.ended += 1
        self._last_ended_s = times.ended_s
        self._waited_s += times.waited_s
        self._turnaround_s += times.ended_s - times.created_s
        if times.first_ran_s is not None:
            self._responded += 1
            self._response_s += times.first_ran_s - times.created_s

    def summary(self, policy: str, queues: Sequence[int]) -> dict[str, object]:
        """`queues`: how many are ready at each level."""
        took_s = self._last_ended_s - (self._since_s or 0.0)
        return {
            "policy": policy,
            "wait_s_mean": self._waited_s / max(1, self.ended),
            "turnaround_s_mean": self._turnaround_s / max(1, self.ended),
            "response_s_mean": self._response_s / max(1, self._responded),
            "throughput_per_s": self.ended / took_s if took_s > 0 else 0.0,
            "context_switches": self.context_switches,
            "queues": list(queues),
        }
