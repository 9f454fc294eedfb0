"""What the dispatcher asks of a scheduling policy. Policies are engines: they hold items and read no clock."""

from __future__ import annotations

from typing import Protocol, TypeVar


class Schedulable(Protocol):
    @property
    def key(self) -> int:
        """Unique among the items that wait."""

    @property
    def priority(self) -> int:
        """Higher runs first, where a policy looks at it."""


Item = TypeVar("Item", bound=Schedulable)


class Policy(Protocol[Item]):
    """The waiting items. Each that was added leaves once, by `pick` or by `remove`."""

    def add(self, now_s: float, item: Item) -> None:
        """Its key must not be waiting already."""

    def put_back(self, item: Item) -> None:
        """It was picked but has not run: it comes next, as if it had not been picked."""

    def peek(self) -> Item | None:
        """What `pick` would return."""

    def pick(self) -> Item | None: ...

    def remove(self, key: int) -> Item | None:
        """None if no item of this key waits."""

    def lengths(self) -> list[int]:
        """How many wait at each level, the one served first at the front."""

    def __len__(self) -> int: ...
