"""The virtual sandbox does what every sandbox does, and in virtual time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
from potluck.overlay.errors import BadProgram, SandboxUnavailable
from potluck.overlay.wire import values, worker
from potluck.overlay.wire.work import Inline
from potluck.simulations import determinism
from potluck.simulations.sandbox import TASK_S, VirtualSandbox, VirtualWorker, encoded_call

from ..node.sandboxes.sandbox_suite import SandboxSuite

SOURCE = b"""
def add(a, b, cost_s=0):
    print("adding", a)
    spend(cost_s)
    return a + b

"""


class TestVirtualSandbox(SandboxSuite):
    def sandbox(self) -> VirtualSandbox:
        return VirtualSandbox()

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        determinism.run(main, seed=1)


async def read(process: VirtualWorker) -> worker.TaskFinished:
    frames = worker.FROM_WORKER.frames()
    frames.feed(await process.receive_some())
    body = frames.next_body()
    assert body is not None
    finished = worker.FROM_WORKER.decode(body)
    assert isinstance(finished, worker.TaskFinished)
    return finished


def give(process: VirtualWorker, *messages: worker.LoadProgram | worker.RunTask | worker.WithdrawTasks) -> None:
    process.send_now(b"".join(map(worker.TO_WORKER.encode, messages)))


def load(entry: str, source: bytes = SOURCE, number: int = 1) -> worker.LoadProgram:
    return worker.LoadProgram(number, "function", Inline(source), entry, "job.py")


def with_worker(play: Callable[[VirtualWorker], Awaitable[None]]) -> None:
    async def main() -> None:
        sandbox = VirtualSandbox()
        process = await sandbox.start()
        await play(process)
        await process.kill()
        assert not sandbox.workers

    determinism.run(main, seed=1)


def test_a_task_takes_the_time_it_says() -> None:
    async def play(process: VirtualWorker) -> None:
        began_s, printed = trio.current_time(), b""
        tasks = [worker.RunTask(n, 1, encoded_call(n, 10, cost_s=2)) for n in (1, 2)]
        give(process, load("add"), *tasks)
        for n in (1, 2):
            finished = await read(process)
            assert (finished.task, finished.fault) == (n, None)
            assert finished.value is not None
            assert values.decode(finished.value) == n + 10
            assert finished.elapsed_s == 2 + TASK_S
            assert trio.current_time() - began_s == pytest.approx(n * (2 + TASK_S))
            printed += process.read_output(1)
            assert printed[: finished.stdout_end].endswith(b"adding %d\n" % n)

    with_worker(play)


@pytest.mark.parametrize("message", [load("add", b"def add(:"), load("missing"), load("add", b"add = 1")])
def test_what_cannot_run_is_a_bad_program(message: worker.LoadProgram) -> None:
    async def play(process: VirtualWorker) -> None:
        give(process, message, worker.RunTask(1, 1, encoded_call(1, 2)))
        fault = (await read(process)).fault
        assert fault is not None
        assert fault.code == BadProgram.wire_code

    with_worker(play)


def test_withdrawn_tasks_do_not_run() -> None:
    async def play(process: VirtualWorker) -> None:
        tasks = [worker.RunTask(n, 1, encoded_call(n, 0, cost_s=1)) for n in (1, 2, 3)]
        give(process, load("add"), *tasks)
        give(process, worker.WithdrawTasks([1, 2]))
        assert [(await read(process)).task for _ in range(2)] == [1, 3]  # the first had begun

    with_worker(play)


def test_killing_ends_a_task_in_the_middle() -> None:
    async def play(process: VirtualWorker) -> None:
        give(process, load("add"), worker.RunTask(1, 1, encoded_call(1, 2, cost_s=100)))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(expect_the_end, process)
            await trio.sleep(5)
            await process.kill()
        assert trio.current_time() < 6
        assert await process.wait() == "killed by SIGKILL"

    async def expect_the_end(process: VirtualWorker) -> None:
        assert await process.receive_some() == b""

    with_worker(play)


def test_a_machine_that_starts_nothing_says_so() -> None:
    async def play() -> None:
        sandbox = VirtualSandbox()
        sandbox.broken = True
        with pytest.raises(SandboxUnavailable):
            await sandbox.start()

    determinism.run(play, seed=1)
