"""The ways in which tasks end badly: each has its error and its words, and the next task of the same job is well."""

from __future__ import annotations

import pytest
from potluck.overlay.errors import PotluckError, ResultNotEncodable, TaskFailed, TaskTimedOut, WorkerLost

from ..sandboxes.sandbox_suite import call
from .service_world import Master, service

Ending = tuple[str, type[PotluckError], str]

DEATHS: dict[str, Ending] = {
    "it exits": ("import os\ndef task(): os._exit(3)", WorkerLost, "exit status 3"),
    "it becomes another program": ("import os\ndef task(): os.execv('/bin/true', ['t'])", WorkerLost, "exit status 0"),
    "it aborts": ("import os\ndef task(): os.abort()", WorkerLost, "SIGABRT"),
    "it reads where nothing is": ("import ctypes\ndef task(): ctypes.string_at(0)", WorkerLost, "SIGSEGV"),
    "it is killed": ("import os\ndef task(): os.kill(os.getpid(), 9)", WorkerLost, "SIGKILL"),
    "it is terminated": ("import os\ndef task(): os.kill(os.getpid(), 15)", WorkerLost, "SIGTERM"),
    "its alarm rings": ("import signal, time\ndef task():\n signal.alarm(1)\n time.sleep(60)", WorkerLost, "SIGALRM"),
    "it closes everything": ("import os\ndef task(): os.closerange(0, 4096)", WorkerLost, "ended while it ran"),
}
RAISED: dict[str, Ending] = {
    "sys.exit": ("import sys\ndef task(): sys.exit(4)", TaskFailed, "SystemExit: 4"),
    "an interrupt": (
        "import os\ndef task(): os.kill(os.getpid(), 2); [0 for _ in range(10**7)]",
        TaskFailed,
        "Keyboard",
    ),
    "endless recursion": ("def task(): return task()", TaskFailed, "RecursionError"),
    "an exception that cannot be pickled": (
        "import threading\ndef task(): raise ValueError(threading.Lock())",
        TaskFailed,
        "ValueError: <unlocked",
    ),
    "an exception that cannot be shown": (
        "class Mute(Exception):\n def __str__(self): raise OSError\ndef task(): raise Mute",
        TaskFailed,
        "Mute (its text cannot be shown)",
    ),
    "a result that cannot be pickled": (
        "import threading\ndef task(): return threading.Lock()",
        ResultNotEncodable,
        "of type lock",
    ),
}
STUCK: dict[str, Ending] = {
    "in C, with the interpreter's lock": (
        "import ctypes\ndef task(): ctypes.PyDLL(None).sleep(600)",
        TaskTimedOut,
        "its limit of 0.5 s",
    ),
    "deaf to every signal": (
        "import signal\ndef task():\n for n in {*signal.Signals} - {9, 19}: signal.signal(n, signal.SIG_IGN)\n"
        " while True: pass",
        TaskTimedOut,
        "its limit of 0.5 s",
    ),
}


@pytest.mark.parametrize("endings", [DEATHS, RAISED, STUCK], ids=["deaths", "raised", "stuck"])
def test_every_bad_end_has_its_error_and_harms_nobody_else(endings: dict[str, Ending]) -> None:
    async def play(master: Master) -> None:
        for number, (name, (source, _kind, _words)) in enumerate(endings.items()):
            timeout_s = 0.5 if endings is STUCK else None
            master.assign(source, call(), job=name, first=2 * number, timeout_s=timeout_s, trust_results=True)
            master.assign("def task(): return 'well'", call(), job=name, first=2 * number + 1)
        for number, (name, (_source, kind, words)) in enumerate(endings.items()):
            fault = (await master.last(2 * number)).fault
            assert fault is not None, name
            assert (fault.code, words in fault.message) == (kind.wire_code, True), (name, fault)
            assert await master.value(2 * number + 1) == "well", name

    service(slots=2)(play)()


LEAVES = """
import os, threading, time
def task(stays):
    if stays:
        threading.Thread(target=time.sleep, args=(600,)).start()
    return os.getpid(), threading.active_count()
"""


@service(slots=1)
async def test_threads_left_behind_hold_nobody_up_and_end_with_the_job(master: Master) -> None:
    for number, stays in enumerate([True, False]):
        master.assign(LEAVES, call(stays), first=number)
    assert await master.value(0) == (await master.value(1)), "the thread is still there, and in nobody's way"
