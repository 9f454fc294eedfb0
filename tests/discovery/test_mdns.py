"""Zeroconf on loopback: how it ends."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest
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


WITHOUT_THREADS = """
import threading, trio
from trio._core._thread_cache import THREAD_CACHE
from zeroconf import Zeroconf
from potluck.discovery import mdns
from potluck.discovery.heard import Heard
from potluck.node.system import SystemWallClock

heard, renewed, renew = Heard(), trio.Event(), Zeroconf.update_service
mdns.PERIOD_S = 0.2

def take_threads_away(zeroconf, info):
    if threading.current_thread() is threading.main_thread():
        renewed.set()
        return
    threading.stack_size(1 << 46)
    THREAD_CACHE._idle_workers.clear()
    renew(zeroconf, info)

Zeroconf.update_service = take_threads_away

async def main():
    async with trio.open_nursery() as nursery:
        if FROM_THE_BEGINNING:
            threading.stack_size(1 << 46)
        sinks = lambda sighting: None, heard
        nursery.start_soon(mdns.run, ["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), sinks)
        while not (heard.zeroconf_fault or renewed.is_set()):
            await trio.sleep(0.05)
            THREAD_CACHE._idle_workers.clear()
        nursery.cancel_scope.cancel()

trio.run(main)
print(heard.zeroconf_fault or "renewed")
"""


@pytest.mark.parametrize(
    ("from_the_beginning", "said"), [(True, "can't start new thread"), (False, "renewed")], ids=["never", "no more"]
)
def test_where_no_thread_can_be_had_the_node_goes_on(from_the_beginning: bool, said: str) -> None:
    story = WITHOUT_THREADS.replace("FROM_THE_BEGINNING", repr(from_the_beginning))
    done = subprocess.run([sys.executable, "-c", story], capture_output=True, text=True, timeout=30)
    assert (done.stdout.strip(), done.returncode) == (said, 0), done.stderr
