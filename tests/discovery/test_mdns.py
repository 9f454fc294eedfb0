"""Zeroconf on loopback: how it ends."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest
import trio
import trio.testing
from potluck.discovery import mdns
from potluck.discovery.heard import Heard
from potluck.node.system import SystemWallClock

ENDS_WITHIN_S = 0.7
"""zeroconf itself waits for a second for what it has begun to announce."""


@pytest.fixture
def has_begun(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once a node browses."""
    begun, browse = threading.Event(), mdns.Zeroconf.add_service_listener

    def browser(*arguments: Any) -> None:
        browse(*arguments)
        begun.set()

    monkeypatch.setattr(mdns.Zeroconf, "add_service_listener", browser)
    return begun


def test_who_has_just_begun_to_announce_itself_ends_at_once(has_begun: threading.Event) -> None:
    async def main() -> float:
        async with trio.open_nursery() as nursery:
            sinks = (lambda sighting: None, Heard())
            nursery.start_soon(mdns.run, ["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), sinks)
            await trio.to_thread.run_sync(has_begun.wait, 30)
            await trio.testing.wait_all_tasks_blocked()
            ended_s = time.monotonic()
            nursery.cancel_scope.cancel()
        return time.monotonic() - ended_s

    assert trio.run(main) < ENDS_WITHIN_S


def test_nothing_of_zeroconf_outlives_a_place_that_the_node_has_left(has_begun: threading.Event) -> None:
    """A laptop leaves many."""

    def browsing() -> list[threading.Thread]:
        return [one for one in threading.enumerate() if "ServiceBrowser" in one.name]

    async def main() -> None:
        sinks = (lambda sighting: None, Heard())
        async with trio.open_nursery() as nursery:
            nursery.start_soon(mdns.run, ["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), sinks)
            await trio.to_thread.run_sync(has_begun.wait, 30)
            assert browsing()
            nursery.cancel_scope.cancel()
        for one in browsing():
            await trio.to_thread.run_sync(one.join, 5)
        assert not browsing()

    trio.run(main)


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


def fault_of_a_node_that_goes_on() -> str:
    async def main() -> str:
        heard = Heard()
        await mdns.run(["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), (lambda sighting: None, heard))
        return heard.zeroconf_fault

    return trio.run(main)


def test_a_zeroconf_that_never_begins_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    begins, is_closed = threading.Event(), threading.Event()

    def begin(interfaces: list[str]) -> Any:
        begins.wait()
        return SimpleNamespace(close=is_closed.set)

    monkeypatch.setattr(mdns, "Zeroconf", begin)
    monkeypatch.setattr(mdns, "_BEGIN_S", 0.1)
    try:
        assert fault_of_a_node_that_goes_on() == "it has not begun within 0.1 s"
    finally:
        begins.set()
    assert is_closed.wait(30), "should it ever begin"


def test_a_zeroconf_that_is_given_up_while_it_begins_to_browse_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the network changes again at once: nobody would ever close it."""
    has_begun, goes_on, is_closed = threading.Event(), threading.Event(), threading.Event()

    def browse(*_arguments: object) -> None:
        has_begun.set()
        goes_on.wait()

    made = SimpleNamespace(close=is_closed.set, add_service_listener=browse)
    monkeypatch.setattr(mdns, "Zeroconf", lambda interfaces: made)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            sinks = (lambda sighting: None, Heard())
            nursery.start_soon(mdns.run, ["127.0.0.1"], 9000, bytes(8), (bytes(32), SystemWallClock()), sinks)
            await trio.to_thread.run_sync(has_begun.wait, 30)
            nursery.cancel_scope.cancel()

    try:
        trio.run(main)
    finally:
        goes_on.set()
    assert is_closed.wait(5)


def test_what_zeroconf_says_of_a_network_that_has_gone_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is a traceback, and what it means for the node is told by the doctor."""

    def gone(interfaces: list[str]) -> Any:
        for library in ("zeroconf", "asyncio"):
            logging.getLogger(library).error("Error with socket 27", exc_info=OSError(errno.ENETUNREACH, "unreachable"))
        raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")

    monkeypatch.setattr(mdns, "Zeroconf", gone)
    assert fault_of_a_node_that_goes_on() == "Cannot assign requested address"
    assert "socket" not in caplog.text


def test_a_zeroconf_that_would_find_too_few_descriptors_is_not_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    def too_few(count: int) -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(mdns, "check_room", too_few)
    monkeypatch.setattr(mdns, "Zeroconf", None)
    assert "`ulimit -n`" in fault_of_a_node_that_goes_on()
