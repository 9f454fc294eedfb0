"""A node whose table of open files is full, or would be."""

from __future__ import annotations

import gc
import os
import resource
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
import trio
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox
from potluck.node.system import SystemHost
from potluck.overlay.errors import SandboxUnavailable
from potluck.overlay.parcels import Arrivals, Filling
from potluck.overlay.ports import NO_ACCESS

from ..kin import children

LIMIT = 200


def open_files() -> list[int]:
    return [int(entry.name) for entry in Path("/proc/self/fd").iterdir()]


@contextmanager
def all_but(left: int) -> Iterator[None]:
    """So many more files can be opened, and no more."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    opened: list[int] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(LIMIT, *open_files()) + 10, hard))
    try:
        with suppress(OSError):
            while True:
                opened.append(os.open(os.devnull, os.O_RDONLY))
        for _ in range(left):
            os.close(opened.pop())
        yield
    finally:
        for descriptor in opened:
            os.close(descriptor)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("find", "needed"), [(BubblewrapSandbox.find, 12), (BareSandbox, 8)])
def test_a_sandbox_that_cannot_be_started_for_want_of_one_says_so_and_leaves_nothing(
    find: Callable[[], BubblewrapSandbox | BareSandbox], needed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    try:
        sandbox = find()
    except SandboxUnavailable as error:
        pytest.skip(str(error))
    gc.collect()  # what others have left open is not closed while this one counts
    before, running = len(open_files()), children(os.getpid())
    refused = 0

    async def started(left: int) -> bool:
        try:
            with all_but(left):
                worker = sandbox._spawn(NO_ACCESS)
        except SandboxUnavailable as error:
            assert "open files" in str(error)
            return False
        await worker.kill()
        return True

    for left in range(32):
        refused += not trio.run(started, left)
    assert needed <= refused < 32
    assert len(open_files()) == before
    assert children(os.getpid()) == running
    assert not list(tmp_path.iterdir())


def test_what_a_machine_does_not_tell_now_is_told_as_before(tmp_path: Path) -> None:
    host = SystemHost(tmp_path)
    first = host.sample()
    with all_but(0):
        assert host.sample() == first


def test_nobody_is_accused_because_of_it() -> None:
    filling = Filling()
    filling.write(b"x" * 5000)
    parcel = filling.seal()
    here, there = socket.socketpair()
    with here, there:
        arrivals = Arrivals(there)
        socket.send_fds(here, [b"frame"], [parcel.descriptor])
        assert arrivals.receive(100) == b"frame"
        with all_but(0):
            assert arrivals.claim(5000).whole() == parcel.whole()


def test_a_process_takes_what_it_may_have() -> None:
    script = "import resource; from potluck.node.system import allow_descriptors as allow; allow(); "
    script += "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    def little() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (100, hard))

    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, preexec_fn=little)
    most = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    assert done.stdout.split() == [str(most), str(hard)]
