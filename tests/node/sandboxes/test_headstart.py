"""What begins while the rest of a node's program is imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import suppress

import psutil
import pytest
import trio
from potluck.node.sandboxes import headstart
from potluck.node.sandboxes.bare import BareSandbox
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox
from potluck.node.sandboxes.headstart import HeadStart
from potluck.overlay.errors import SandboxUnavailable
from potluck.overlay.ports import Access, Sandbox

from .test_sandboxes import bubblewrap_or_skip

_BEGIN_AND_END = """
from potluck.node.sandboxes.bubblewrap import BubblewrapSandbox
sandbox = BubblewrapSandbox.find()
sandbox.begin()
print(sandbox._begun.pid, flush=True)
"""


def test_a_worker_that_has_begun_goes_to_the_first_who_wants_one_like_it() -> None:
    async def main() -> None:
        sandbox = bubblewrap_or_skip()
        assert isinstance(sandbox, BubblewrapSandbox)
        head_start = HeadStart(lambda: [sandbox], begins_worker=True)
        assert head_start.sandboxes() == [sandbox]
        begun = sandbox._begun
        assert begun is not None
        async with trio.open_nursery() as nursery:
            others = []
            for access in (Access(network=True), Access(), Access()):
                worker = await sandbox.start(access)
                nursery.start_soon(worker.kill)
                others.append(worker)
        assert [worker is begun for worker in others] == [False, True, False]

    trio.run(main)


def test_a_worker_that_nobody_wants_ends_with_the_process_that_began_it() -> None:
    bubblewrap_or_skip()
    program = [sys.executable, "-c", _BEGIN_AND_END]
    pid = int(subprocess.run(program, stdout=subprocess.PIPE, timeout=60, check=True).stdout)
    with suppress(psutil.NoSuchProcess):
        psutil.Process(pid).wait(10)


def test_what_keeps_a_sandbox_from_being_found_is_told_to_whoever_asks_for_it() -> None:
    def find() -> list[Sandbox]:
        raise SandboxUnavailable("there is none")

    head_start = HeadStart(find, begins_worker=True)
    with pytest.raises(SandboxUnavailable, match="there is none"):
        head_start.sandboxes()


def test_a_node_that_follows_in_the_same_process_has_sandboxes_found_again() -> None:
    found: list[list[Sandbox]] = []

    def find() -> list[Sandbox]:
        found.append([BareSandbox()])
        return found[-1]

    head_start = HeadStart(find, begins_worker=True)
    assert head_start.sandboxes() is found[0]
    assert head_start.sandboxes() is found[1]


def test_a_worker_outlives_whatever_goes_wrong_in_clearing_up(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = threading.Event()

    def fails() -> None:
        tried.set()
        raise PermissionError("not yours")

    async def main() -> None:
        sandbox = bubblewrap_or_skip()
        monkeypatch.setattr(headstart, "clear_up", fails)
        HeadStart(lambda: [sandbox], begins_worker=True).sandboxes()
        worker = await sandbox.start()
        assert await trio.to_thread.run_sync(tried.wait, 10)
        with trio.move_on_after(0.5) as patience:
            await worker.wait()
        assert patience.cancelled_caught, "it lives"
        await worker.kill()

    trio.run(main)


@pytest.mark.parametrize("wrong", [SandboxUnavailable, RuntimeError])
def test_what_goes_wrong_in_beginning_a_worker_keeps_nobody_waiting(
    wrong: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    def begin(sandbox: BubblewrapSandbox) -> None:
        raise wrong("it does not begin")

    sandbox = bubblewrap_or_skip()
    monkeypatch.setattr(BubblewrapSandbox, "begin", begin)
    assert HeadStart(lambda: [sandbox], begins_worker=True).sandboxes() == [sandbox]
