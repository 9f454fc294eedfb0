"""What the dispatcher asks of a scheduling policy. Policies are engines: they hold what waits and read no clock.

An item is *ready* from `add` until `pick`, and *running* from `pick` until one of `put_back`, `preempted`, `blocked`
and `ended`; a blocked one comes back by `add`. Whoever has processors goes by three questions alone: what comes next
(`peek`), for how long (`slice_s`), and whether what waits may push away what runs (`rank`).
"""

from __future__ import annotations

import math
from collections.abc import Hashable
from typing import Final, Generic, Protocol, TypeVar

SLICE_TOLERANCE_S: Final = 1e-6
"""A slice counts as used up when less than this is left of it: sums of floats are not exact."""


class Schedulable(Hashable, Protocol):
    @property
    def key(self) -> int:
        """Unique among the items that are ready, and the same for as long as it is."""

    @property
    def priority(self) -> int:
        """Higher runs first, where a policy looks at it."""

    @property
    def submitter(self) -> Hashable:
        """Whose share it takes."""

    @property
    def function(self) -> Hashable:
        """What is the same here has taken about as long before."""

    @property
    def estimate_s(self) -> float | None:
        """How long it will run, where somebody has said so."""


Item = TypeVar("Item", bound=Schedulable)


class Policy(Protocol[Item]):
    """Each item that was added leaves once: by `remove`, or by `pick` and then `ended` or `blocked`.

    `ran_s` is for how long it has run since it was picked. What runs may have been picked from another policy, which
    this one has replaced: it is known from the first time it is told of.
    """

    @property
    def name(self) -> str: ...

    @property
    def preempts(self) -> bool:
        """Whether it ever stops what runs: by slices, or for what is ready."""

    @property
    def chooses(self) -> bool:
        """Whether it is better when more is ready than there is room for: it takes another than the first that came, or
        lets them take turns."""

    def add(self, now_s: float, item: Item) -> None:
        """It is ready: it is new, or no longer blocked. Its key must not be ready already."""

    def put_back(self, item: Item) -> None:
        """It was picked but has not run: it comes next, as if it had not been picked."""

    def preempted(self, now_s: float, item: Item, ran_s: float) -> None:
        """It was stopped, because its slice is over or what waits pushes it away, and is ready."""

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        """It stopped by itself, to wait for something."""

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        """It was running, or blocked, and will not come back. One that was killed is not `completed`."""

    def peek(self, now_s: float) -> Item | None:
        """What `pick` would return."""

    def pick(self, now_s: float) -> Item | None: ...

    def remove(self, key: int) -> Item | None:
        """It was ready and will not come back. None if no item of this key is ready."""

    def slice_s(self, item: Item) -> float:
        """How long an item that was just picked may run before it is `preempted`; infinite where nobody asks."""

    def rank(self, item: Item, ran_s: float) -> float:
        """Lower runs first: what is ready pushes away what runs at a higher rank."""

    def lengths(self) -> list[int]:
        """How many are ready at each level, the one served first at the front."""

    def __len__(self) -> int: ...


class RunsToItsEnd(Generic[Item]):
    """What a policy says that stops nothing and learns nothing."""

    preempts = False
    chooses = True

    def slice_s(self, item: Item) -> float:
        return math.inf

    def rank(self, item: Item, ran_s: float) -> float:
        return 0.0

    def blocked(self, now_s: float, item: Item, ran_s: float) -> None:
        """Nothing to remember."""

    def ended(self, now_s: float, item: Item, ran_s: float, *, completed: bool = True) -> None:
        """Nothing to learn."""
