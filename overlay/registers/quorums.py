"""Which answers are enough. While acceptors change, majorities of both the old and the new are needed, so that whoever
knows only the one still meets whoever knows only the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import Final

from ..wire.registers import Configuration

FOUNDERS: Final = 0
FOUNDING: Final = 1
FIRST: Final = 2


def _groups(configuration: Configuration) -> Iterator[tuple[list[bytes], int]]:
    """The groups that have to agree, each with the number that is enough."""
    acceptors, previous = configuration.acceptors, configuration.previous
    yield acceptors, len(acceptors) if configuration.number == FOUNDERS else len(acceptors) // 2 + 1
    if previous:
        yield previous, len(previous) if configuration.number == FOUNDING else len(previous) // 2 + 1


def is_quorum(configuration: Configuration, answered: Collection[bytes]) -> bool:
    return all(sum(one in answered for one in group) >= enough for group, enough in _groups(configuration))


def members(configuration: Configuration) -> list[bytes]:
    """Everyone who may be asked."""
    return list(dict.fromkeys([*configuration.acceptors, *configuration.previous]))


def is_changing(configuration: Configuration) -> bool:
    return bool(configuration.previous)


def moved(configuration: Configuration, acceptors: list[bytes]) -> Configuration:
    """The first step to other acceptors: old and new decide together."""
    return Configuration(configuration.number + 1, acceptors, configuration.acceptors)


def settled(configuration: Configuration) -> Configuration:
    """The second step: the new decide alone. Only ever proposed after the first was chosen."""
    return Configuration(configuration.number + 1, configuration.acceptors)
