"""Zeroconf on loopback: how it ends."""

from __future__ import annotations

import time

import trio
import trio.testing
from potluck.discovery import mdns
from potluck.discovery.heard import Heard
from potluck.node.system import SystemWallClock

ENDS_WITHIN_S = 0.7
"""zeroconf itself waits for a second for what it has begun to announce."""


def test_who_has_just_begun_to_announce_itself_ends_at_once() -> None:
    async def main() -> float:
        async with trio.open_nursery() as nursery:
            sinks = (lambda sighting: None, Heard())
            nursery.start_soon(mdns.run, ["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), sinks)
            await trio.testing.wait_all_tasks_blocked()
            ended_s = time.monotonic()
            nursery.cancel_scope.cancel()
        return time.monotonic() - ended_s

    assert trio.run(main) < ENDS_WITHIN_S
