"""What an owner says counts at once, and is remembered as far as the disk takes it."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
from potluck.node.lending.lending import Act
from potluck.node.lending.service import LendingService
from potluck.overlay.config import Lending as Rules
from potluck.overlay.errors import Unavailable


class FullDisk:
    """A store that takes nothing more."""

    def __init__(self, held: bytes | None) -> None:
        self._held = held

    def get(self, table: str, key: bytes) -> bytes | None:
        return self._held

    def put(self, table: str, key: bytes, value: bytes) -> None:
        pass

    def delete(self, table: str, key: bytes) -> None:
        pass

    async def commit(self) -> None:
        raise Unavailable("cannot write to disk: database or disk is full")


@pytest.mark.parametrize(("paused", "acts"), [(True, ["hold"]), (False, ["hold", "go on"])], ids=["pause", "lend"])
def test_a_full_disk_keeps_nobody_from_pausing_or_lending(paused: bool, acts: list[Act]) -> None:
    done: list[Act] = []

    async def main() -> None:
        service = LendingService(
            Rules(),
            cast(Any, None),
            cast(Any, FullDisk(None if paused else b"1")),
            lambda act, _reason: done.append(act),
            lambda _reason: None,
        )
        async with trio.open_nursery() as nursery:
            await nursery.start(service.run)
            assert "disk is full" in await service.pause(paused)
            assert service.row()["lends"] == (not paused)
            nursery.cancel_scope.cancel()

    trio.run(main)
    assert done == acts
