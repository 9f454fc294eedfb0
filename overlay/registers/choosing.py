"""Who shall be a register's acceptors, by how things stand with the present ones.

    standing   keeps its place
    HERE       always
    AWAY       unless somebody who is here takes it: a partition or a power cut ends, and who comes back is needed
    GONE       while fewer than three would be left, or where its place costs nothing

With each acceptor that is gone a register would need the same majority of fewer machines: of three and a guest who has
left, none may die. Five with one gone need three of four, and so do four of four: there the place costs nothing, and
whoever comes back after a night has it still. Three are the floor, so that what is agreed lies on two disks at least.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import Final

ACCEPTORS: Final = 5
ACCEPTORS_MIN: Final = 3
"""Fewer are chosen only where there have never been as many."""


class Standing(enum.Enum):
    HERE = enum.auto()
    """Alive, or at most suspected."""
    AWAY = enum.auto()
    """Dead or unknown: it may come back."""
    GONE = enum.auto()
    """It has said goodbye or is banned."""


def choose(acceptors: Sequence[bytes], standing: Callable[[bytes], Standing], others: Iterable[bytes]) -> list[bytes]:
    """`others`: those who would take a place, the best first. Chosen again, nothing changes."""
    groups: dict[Standing, list[bytes]] = {one: [] for one in Standing}
    for acceptor in acceptors:
        groups[standing(acceptor)].append(acceptor)
    here = groups[Standing.HERE]
    here += islice(others, max(0, ACCEPTORS - len(here)))
    away = groups[Standing.AWAY][: max(0, len(acceptors) - len(here))]
    staying = len(here) + len(away)
    size = max(staying, ACCEPTORS_MIN) | 1  # an even number needs as many answers as the odd one above it
    return here + away + groups[Standing.GONE][: size - staying]


def spare(acceptors: Sequence[bytes], standing: Callable[[bytes], Standing]) -> int:
    """How many more may go, with a majority left; negative where there is none."""
    return sum(standing(one) is Standing.HERE for one in acceptors) - (len(acceptors) // 2 + 1)
