"""What every `ports.Sandbox` does, real or virtual. Subclass `SandboxSuite` in a test module and say which it is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import trio
import trio.testing
from potluck.overlay.errors import BadProgram, LinkLost, TaskFailed
from potluck.overlay.parcels import Parcel
from potluck.overlay.ports import Sandbox, WorkerProcess
from potluck.overlay.wire import values
from potluck.overlay.wire.work import Attached, Inline
from potluck.overlay.wire.worker import FROM_WORKER, TO_WORKER, LoadProgram, RunTask, TaskFinished, WithdrawTasks

DEADLINE_S = 60.0

SOURCE = """
def add(a, b=0):
    print("adding", a)
    return a + b

def fail(text):
    raise KeyError(text)
"""


RESTING = """
try:
    spend
except NameError:
    from time import sleep as spend

def rest(seconds):
    spend(seconds)
    return "rested"
"""


class Talk:
    """Both directions of a worker's pipe, message by message."""

    def __init__(self, process: WorkerProcess) -> None:
        self.process = process
        self._frames = FROM_WORKER.frames()

    async def give(self, *messages: Any) -> None:
        await self.give_beside([], *messages)

    async def give_beside(self, parcels: list[Parcel], *messages: Any) -> None:
        if not self.process.send_now(b"".join(map(TO_WORKER.encode, messages)), parcels):
            await self.process.flush()

    async def take(self) -> Any:
        while (body := self._frames.next_body()) is None:
            chunk = await self.process.receive_some()
            assert chunk, "the worker has ended"
            self._frames.feed(chunk)
        return FROM_WORKER.decode(body)

    async def finished(self) -> TaskFinished:
        message = await self.take()
        assert isinstance(message, TaskFinished)
        if isinstance(message.value, Attached):
            value = self.process.claim(message.value.size_bytes).open()
            message = msgspec.structs.replace(message, value=value)
        return message

    async def value(self) -> object:
        finished = await self.finished()
        assert finished.fault is None, finished.fault
        assert finished.value is not None and not finished.pickled
        return values.decode(finished.value)


def function(entry: str, source: str = SOURCE, number: int = 1) -> LoadProgram:
    return LoadProgram(number, "function", Inline(source.encode()), entry, "job.py")


def call(*positional: object, **named: object) -> Inline:
    return values.encode([list(positional), named])


class SandboxSuite:
    def sandbox(self) -> Sandbox:
        raise AssertionError("a subclass says which")

    def run(self, main: Callable[[], Awaitable[None]]) -> None:
        async def bounded() -> None:
            with trio.fail_after(DEADLINE_S):
                await main()

        trio.run(bounded)

    def with_worker(self, play: Callable[[Talk], Awaitable[None]]) -> None:
        async def main() -> None:
            process = await self.sandbox().start()
            try:
                await play(Talk(process))
            finally:
                await process.kill()

        self.run(main)

    def test_a_worker_has_the_guarantees_its_sandbox_states(self) -> None:
        sandbox = self.sandbox()
        assert sandbox.backend

        async def play(talk: Talk) -> None:
            assert talk.process.guarantees == sandbox.guarantees

        self.with_worker(play)

    def test_an_instruction_is_answered_with_itself(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(LoadProgram(1, "kind", Inline(b"")), RunTask(7, 1, values.encode("b1")))
            assert await talk.value() == "b1"

        self.with_worker(play)

    def test_tasks_are_answered_one_by_one_in_order(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(function("add"), *(RunTask(n, 1, call(n, b=10)) for n in range(20)))
            for n in range(20):
                finished = await talk.finished()
                assert finished.task == n
                assert finished.value is not None and values.decode(finished.value) == n + 10
                assert finished.elapsed_s >= 0

        self.with_worker(play)

    def test_what_a_task_prints_lies_between_its_offsets(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(function("add"), RunTask(1, 1, call(1)), RunTask(2, 1, call(22)))
            one, two = await talk.finished(), await talk.finished()
            assert await talk.process.output_arrived(1)
            printed = talk.process.read_output(1)
            assert printed[: one.stdout_end] == b"adding 1\n"
            assert printed[one.stdout_end : two.stdout_end] == b"adding 22\n"
            assert len(printed) == two.stdout_end
            assert (talk.process.read_output(1), talk.process.read_output(2)) == (b"", b"")

        self.with_worker(play)

    def test_a_task_that_raises_is_a_fault_and_the_worker_goes_on(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(function("fail"), function("add", number=2))
            await talk.give(RunTask(1, 1, call("x")), RunTask(2, 2, call(2)))
            fault = (await talk.finished()).fault
            assert fault is not None
            assert (fault.code, fault.exception_type) == (TaskFailed.wire_code, "builtins.KeyError")
            assert values.decode_bytes(fault.exception_arguments) == ("x",)
            assert "in fail" in fault.traceback
            assert await talk.value() == 2

        self.with_worker(play)

    @pytest.mark.parametrize("source", ["def add(:", "subtract = 1"])
    def test_a_program_that_cannot_run_is_a_bad_program(self, source: str) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(function("add", source), RunTask(1, 1, call(1)))
            fault = (await talk.finished()).fault
            assert fault is not None and fault.code == BadProgram.wire_code

        self.with_worker(play)

    def test_a_withdrawn_task_is_skipped(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(
                function("add"),
                RunTask(1, 1, call(1)),
                RunTask(2, 1, call(2)),
                RunTask(3, 1, call(3)),
                WithdrawTasks([2]),
            )
            assert [(await talk.finished()).task for _ in range(2)] == [1, 3]

        self.with_worker(play)

    def test_a_killed_worker_ends_its_pipe_and_says_how_it_ended(self) -> None:
        async def main() -> None:
            process = await self.sandbox().start()
            await Talk(process).give(function("add"))
            await process.kill()
            assert await process.receive_some() == b""
            assert "SIGKILL" in await process.wait()
            await process.kill()
            with pytest.raises((LinkLost, trio.BrokenResourceError)):
                await Talk(process).give(function("add"))

        self.run(main)

    def test_what_is_stopped_does_nothing_until_it_is_resumed(self) -> None:
        async def play(talk: Talk) -> None:
            await talk.give(function("rest", RESTING), RunTask(1, 1, call(0.5)))
            await talk.process.stop()
            await talk.process.stop()
            with trio.move_on_after(1.0):
                raise AssertionError(f"it went on: {await talk.take()}")
            await talk.process.resume()
            assert await talk.value() == "rested"
            await talk.give(RunTask(2, 1, call(0.01)))
            assert await talk.value() == "rested"

        self.with_worker(play)

    def test_what_is_stopped_can_be_killed_and_what_is_gone_cannot_be_stopped(self) -> None:
        async def main() -> None:
            process = await self.sandbox().start()
            await process.stop()
            await process.kill()
            for order in (process.stop, process.resume):
                with pytest.raises(LinkLost):
                    await order()

        self.run(main)

    def test_killing_wakes_whoever_reads(self) -> None:
        async def main() -> None:
            process = await self.sandbox().start()
            async with trio.open_nursery() as nursery:

                async def read() -> None:
                    assert await process.receive_some() == b""

                nursery.start_soon(read)
                await trio.testing.wait_all_tasks_blocked()
                await process.kill()

        self.run(main)

    def test_workers_know_nothing_of_each_other(self) -> None:
        async def main() -> None:
            sandbox = self.sandbox()
            one, other = Talk(await sandbox.start()), Talk(await sandbox.start())
            try:
                counting = "seen = []\ndef add(x):\n    seen.append(x)\n    return seen"
                await one.give(function("add", counting), RunTask(1, 1, call(1)))
                await other.give(function("add", counting), RunTask(1, 1, call(2)))
                assert (await one.value(), await other.value()) == ([1], [2])
            finally:
                await one.process.kill()
                await other.process.kill()

        self.run(main)
