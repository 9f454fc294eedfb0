"""Calls that wait go on where the system has no thread for them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
import trio
from potluck.overlay.threads import beside

NO_THREAD_LEFT = """
import threading, trio
from potluck.overlay.threads import beside

threading.stack_size(1 << 46)
try:
    threading.Thread(target=print).start()
except RuntimeError:
    print(trio.run(beside, threading.current_thread) is threading.main_thread())
"""


def test_where_there_is_a_thread_it_is_another_one() -> None:
    assert trio.run(beside, threading.current_thread) is not threading.current_thread()


def test_where_there_is_none_the_call_is_made_all_the_same() -> None:
    done = subprocess.run([sys.executable, "-c", NO_THREAD_LEFT], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


def test_what_the_call_raises_is_its_own_and_it_is_made_once() -> None:
    calls = 0

    def wrong() -> None:
        nonlocal calls
        calls += 1
        raise RuntimeError("another matter")

    with pytest.raises(RuntimeError, match="another matter"):
        trio.run(beside, wrong)
    assert calls == 1


NO_THREAD_TO_LOOK_UP = """
import threading, trio
from potluck.overlay.config import Links
from potluck.overlay.errors import LinkLost
from potluck.overlay.ports import Address
from potluck.overlay.transport.tcp import dial_door

threading.stack_size(1 << 46)
try:
    trio.run(dial_door, Address("a-name-of-hearsay.invalid", 9), Links())
except LinkLost as error:
    print(error)
"""


def test_a_host_that_cannot_be_looked_up_for_want_of_a_thread_is_a_lost_link() -> None:
    done = subprocess.run([sys.executable, "-c", NO_THREAD_TO_LOOK_UP], capture_output=True, text=True)
    assert "there is no thread" in done.stdout, done.stderr
