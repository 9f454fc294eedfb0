"""Workers that have served enough are replaced, and spares have ready what jobs use."""

from __future__ import annotations

import os
from itertools import count
from typing import Any

import msgspec
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.execution.tasks import Task, Worker
from potluck.node.execution.wear import PROGRAMS_KEPT, ROOMY_BYTES, WARMED, Warming, Wear, is_fit
from potluck.node.processes.process import UNKNOWN, Process
from potluck.node.scheduling.times import Times
from potluck.node.system import SystemHost
from potluck.overlay.config import Execution
from potluck.overlay.wire.limits import Limits

from ...kin import children
from ..sandboxes.sandbox_suite import call
from .service_world import Master, service
from .test_workers import RUNNING

TASKS_MAX, GROWTH_BYTES = 5, 1000


def ended(memory_bytes: int | None) -> Task:
    process = Process(1, Times(0.0), UNKNOWN)
    if memory_bytes is not None:
        process.measured(0.0, memory_bytes)
    return msgspec.structs.replace(RUNNING, process=process)


@given(st.lists(st.none() | st.integers(0, 3 * GROWTH_BYTES), max_size=2 * TASKS_MAX))
def test_a_worker_is_worn_by_many_tasks_or_by_what_it_keeps(sizes: list[int | None]) -> None:
    wear = Wear(Execution(worker_tasks_max=TASKS_MAX, worker_growth_bytes_max=GROWTH_BYTES))
    worker = Worker(1, 0)
    for size in sizes:
        wear.ran(worker, ended(size))
    seen = [size for size in sizes if size is not None]
    assert worker.worn == (len(sizes) >= TASKS_MAX or any(size - seen[0] > GROWTH_BYTES for size in seen))


@given(st.lists(st.lists(st.sampled_from([*WARMED, "torch", "json"]), max_size=3), max_size=3 * PROGRAMS_KEPT))
def test_spares_import_what_the_last_programs_have_used(programs: list[list[str]]) -> None:
    warming, told = Warming(), None
    for modules in programs:
        news = warming.seen(modules)
        assert news == (warming.message is not None and warming.message != told)
        told = warming.message
    lately = {name for modules in programs[-PROGRAMS_KEPT:] for name in modules}
    wanted = [name for name in WARMED if name in lately]
    assert (told.modules if told is not None else []) == wanted


@given(st.booleans(), st.integers(0, 2 * ROOMY_BYTES), st.integers(0, 3))
def test_what_is_imported_is_not_laid_to_who_may_take_little(warmed: bool, memory_bytes: int, processes: int) -> None:
    worker = Worker(1, 0, warmed=warmed)
    narrow = processes > 0 or 0 < memory_bytes < ROOMY_BYTES
    assert is_fit(worker, Limits(memory_bytes=memory_bytes, processes=processes)) == (not (warmed and narrow))


WHO = "import os\ndef task(): return os.getpid()"


def test_a_worker_is_replaced_after_so_many_tasks() -> None:
    async def play(master: Master) -> None:
        pids = []
        for number in range(7):
            master.assign(WHO, call(), first=number)
            pids.append(await master.value(number))
        assert [pids.count(pid) for pid in dict.fromkeys(pids)] == [3, 3, 1]

    service(slots=1, config=Execution(worker_tasks_max=3))(play)()


HOARDS = """
import os, time
held = []
def task(size_bytes):
    held.append(b"x" * size_bytes)
    until_s = time.monotonic() + 0.3  # so that it is looked at
    while time.monotonic() < until_s: pass
    return os.getpid()
"""


def test_a_worker_that_keeps_more_and_more_is_replaced() -> None:
    async def play(master: Master) -> None:
        pids = []
        for number, size_bytes in enumerate([0, 0, 80 << 20, 0]):
            master.assign(HOARDS, call(size_bytes), first=number)
            pids.append(await master.value(number))
        assert pids[0] == pids[1] == pids[2] != pids[3]

    service(slots=1, config=Execution(worker_growth_bytes_max=40 << 20))(play)()


def test_after_an_installation_jobs_find_workers_that_began_later() -> None:
    installations = [0]

    async def play(master: Master) -> None:
        master.assign(WHO, call(), job="first")
        first = await master.value(0)
        earlier = {process.pid for process in children(os.getpid())}
        assert first in earlier
        master.assign(WHO, call(), job="first", first=1)
        assert await master.value(1) == first
        installations[0] = 1
        master.assign(WHO, call(), job="second", first=2)
        assert await master.value(2) not in earlier
        master.assign(WHO, call(), job="first", first=3)
        assert await master.value(3) != first

    service(slots=1, installations=lambda: installations[0])(play)()


def test_an_installation_is_seen(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    host = SystemHost(tmp_path)
    before = host.installed()
    assert host.installed() == before
    (folder / "new-1.0.dist-info").mkdir()
    os.utime(folder, (1, 1))
    assert host.installed() != before


HAS_NUMPY = "import sys\ndef task(): return 'numpy' in sys.modules"


def test_spares_have_imported_what_jobs_use() -> None:
    async def play(master: Master) -> None:
        with trio.fail_after(60):
            for number in count():
                master.assign(HAS_NUMPY, call(), job=f"job-{number}", first=number, modules=["numpy", "json"])
                if await master.value(number):
                    return
                await trio.sleep(0.1 * number)  # a spare that is wanted at once is taken as it is

    service(slots=1)(play)()
