"""The execution service with real worker processes: what a master sees of it."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
import trio
from potluck.node.execution.bare import BareSandbox
from potluck.node.execution.listening import PENDING_BYTES
from potluck.node.execution.outgoing import WINDOW_BYTES
from potluck.node.execution.service import ExecutionService
from potluck.overlay.config import Execution
from potluck.overlay.errors import (
    BadProgram,
    Cancelled,
    LimitExceeded,
    NotFound,
    SandboxUnavailable,
    TaskFailed,
    TaskTimedOut,
    WorkerLost,
)
from potluck.overlay.ports import OUTPUT_PART_BYTES
from potluck.overlay.wire import values
from potluck.overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput
from potluck.overlay.wire.work import (
    CancelInstructions,
    ExecutionConfirmation,
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Payload,
    Program,
    Reference,
    Report,
    Returned,
    Started,
    TaskComplete,
)

from .sandbox_suite import DEADLINE_S, call

OWN, MASTER = b"owner", b"master"


class Kept:
    """Long payloads, held here instead of in a node's object table."""

    def __init__(self) -> None:
        self.objects: dict[bytes, Inline] = {}

    async def fetch(self, reference: Reference) -> Inline:
        await trio.lowlevel.checkpoint()
        if reference.object_id not in self.objects:
            raise NotFound("no such object")
        return self.objects[reference.object_id]

    def keep(self, inline: Inline, job: str) -> Payload:
        object_id = len(self.objects).to_bytes(16, "big")
        self.objects[object_id] = inline
        return Reference(object_id, len(inline.data), b"h" * 20)


@dataclass
class Master:
    """Assigns and collects what is confirmed."""

    service: ExecutionService
    kept: Kept
    reports: dict[int, list[Report]] = field(default_factory=dict)
    said: list[Any] = field(default_factory=list)
    batches: int = 0
    _changed: trio.Event = field(default_factory=trio.Event)

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        self.batches += 1
        for report in confirmation.reports:
            self.reports.setdefault(report.index, []).append(report)
        self._changed.set()
        self._changed = trio.Event()

    def say(self, message: TaskOutput | InputWanted) -> None:
        self.said.append(message)
        self._changed.set()
        self._changed = trio.Event()

    async def heard(self, wanted: Callable[[list[Any]], bool]) -> list[Any]:
        while not wanted(self.said):
            await self._changed.wait()
        return self.said

    def assign(self, source: str, *calls: Payload, job: str = "j", owner: bytes = OWN, **options: Any) -> None:
        form = options.pop("form", "function")
        body = None if form == "kind" else Inline(source.encode())
        modules = options.pop("modules", [])
        program = Program(source.encode()[:32].ljust(32), form, "task", "job.py", body, modules=modules)
        first = options.pop("first", 0)
        instructions = [Instruction(first + number, arguments) for number, arguments in enumerate(calls)]
        message = InstructionAssignment(job, 1, program, instructions, **options)
        self.service.assign(MASTER, owner, self, message)

    async def last(self, index: int, kind: type = Finished) -> Any:
        while not any(isinstance(report, kind) for report in self.reports.get(index, ())):
            await self._changed.wait()
        return self.reports[index][-1]

    async def value(self, index: int) -> object:
        report = await self.last(index)
        assert report.fault is None, report.fault
        return values.decode(report.value)


Play = Callable[[Master], Awaitable[None]]


def service(slots: int = 2, config: Execution | None = None, **options: Any) -> Callable[[Play], Callable[[], None]]:
    """Makes a test of a coroutine that plays the master of a running service; afterwards no process is left."""

    async def echo(job: str, operation: str, arguments: object) -> object:
        await trio.lowlevel.checkpoint()
        if operation == "fail":
            raise NotFound("nothing")
        return [job, operation, arguments]

    def decorate(play: Play) -> Callable[[], None]:
        async def main() -> None:
            kept = Kept()
            one = ExecutionService(
                config or Execution(),
                slots=slots,
                sandboxes=options.get("sandboxes", [BareSandbox()]),
                own_owner=OWN,
                objects=kept,
                node_name="b1",
                mesh_time_s=lambda: trio.current_time() + 1000,
                node_call=echo,
                has_module=lambda name: name != "absent",
            )
            with trio.fail_after(DEADLINE_S):
                async with trio.open_nursery() as nursery:
                    await nursery.start(one.run)
                    await play(Master(one, kept))
                    nursery.cancel_scope.cancel()

        def test() -> None:
            trio.run(main)
            assert not psutil.Process().children()

        test.__name__, test.__doc__ = play.__name__, play.__doc__
        return test

    return decorate


@service()
async def test_tasks_come_back_with_value_output_times_and_guarantees(master: Master) -> None:
    began_s = trio.current_time() + 1000
    master.assign("def task(x):\n    print('saw', x)\n    return x + 1", *(call(n) for n in range(5)))
    for n in range(5):
        assert await master.value(n) == n + 1
        report = await master.last(n)
        assert report.stdout == f"saw {n}\n".encode()
        assert report.guarantees.time and not report.guarantees.network
        assert began_s <= report.started_s and report.elapsed_s >= 0


@service(slots=1)
async def test_many_short_tasks_are_confirmed_in_few_messages(master: Master) -> None:
    master.assign("def task(x): return x", *(call(n) for n in range(2_000)))
    for n in range(2_000):
        assert await master.value(n) == n
    assert master.batches < 1_000
    assert master.service.load().queued == master.service.load().busy == 0


@service()
async def test_a_long_task_is_announced(master: Master) -> None:
    master.assign("import time\ndef task(): time.sleep(0.2)", call())
    assert isinstance(await master.last(0, Started), Started)
    await master.last(0)
    assert [type(report) for report in master.reports[0]] == [Started, Finished]


@service()
async def test_a_timeout_kills_the_task_and_shows_what_it_had_printed(master: Master) -> None:
    master.assign("import time\ndef task():\n    print('so far')\n    time.sleep(600)", call(), timeout_s=0.2)
    report = await master.last(0)
    assert report.fault.code == TaskTimedOut.wire_code
    assert report.stdout == b"so far\n"
    master.assign("def task(): return 1", call(), first=1)
    assert await master.value(1) == 1


@service(slots=1)
async def test_cancelling_reaches_running_and_waiting_tasks(master: Master) -> None:
    master.assign("import time\ndef task(s):\n    time.sleep(s)\n    return s", call(600), call(600), call(0))
    await master.last(0, Started)
    master.service.cancel(MASTER, CancelInstructions("j", 1, [0, 1]))
    for index in (0, 1):
        assert (await master.last(index)).fault.code == Cancelled.wire_code
    assert await master.value(2) == 0


@service()
async def test_a_worker_that_dies_is_reported_with_how(master: Master) -> None:
    source = "import os, signal\ndef task(x):\n    print('before')\n    if x: os.kill(os.getpid(), x)\n    return x"
    master.assign(source, call(11), call(0))
    report = await master.last(0)
    assert report.fault.code == WorkerLost.wire_code
    assert "SIGSEGV" in report.fault.message
    assert report.stdout == b"before\n"
    assert await master.value(1) == 0


@service()
async def test_the_work_of_others_is_not_run_bare(master: Master) -> None:
    master.assign("def task(): return 1", call(), owner=b"stranger")
    report = await master.last(0, Returned)
    assert report.code == SandboxUnavailable.wire_code


@service()
async def test_long_payloads_travel_by_reference(master: Master) -> None:
    master.kept.objects[b"a" * 16] = call("x" * 100_000)
    master.assign("def task(x): return x * 2", Reference(b"a" * 16, 1, b"h" * 20), Reference(b"b" * 16, 1, b"h" * 20))
    report = await master.last(0)
    assert isinstance(report.value, Reference)
    assert values.decode(master.kept.objects[report.value.object_id]) == "x" * 200_000
    assert (await master.last(1, Returned)).code == NotFound.wire_code


@service(config=Execution(result_bytes_max=1_000, output_bytes_max=1_000))
async def test_results_and_output_beyond_the_limits_say_so(master: Master) -> None:
    master.assign("def task(n):\n    print('y' * n)\n    return 'x' * n", call(5_000), call(5))
    report = await master.last(0)
    assert report.fault.code == LimitExceeded.wire_code
    assert 990 <= len(report.stdout) <= 1_000 and report.stdout.endswith(b"yy\n")
    beginning, note, end = report.stdout.split(b"\n[potluck: ")[0], *report.stdout.split(b"[potluck: ")[1].split(b"]\n")
    assert note == b"%d bytes of output are left out here" % (5_001 - len(beginning) - len(end))
    assert (await master.last(1)).stdout == b"yyyyy\n"


@service()
async def test_a_complete_job_leaves_no_worker_and_its_successor_no_trace(master: Master) -> None:
    source = """
import os, builtins
def task():
    seen, builtins.trace = hasattr(builtins, "trace"), 1
    return [os.getpid(), seen]
"""
    master.assign(source, call())
    pid, seen = await master.value(0)  # type: ignore[misc]
    assert not seen
    master.service.complete(MASTER, TaskComplete("j", 1))
    master.assign(source, call(), job="k", first=1)
    other, seen = await master.value(1)  # type: ignore[misc]
    assert other != pid and not seen
    with trio.fail_after(10):
        while psutil.pid_exists(pid):  # noqa: ASYNC110 (the process table tells nobody when it changes)
            await trio.sleep(0.005)


@service(slots=1)
async def test_a_master_that_died_takes_its_work_with_it(master: Master) -> None:
    master.assign("import time\ndef task(): time.sleep(600)", call(), call())
    await master.last(0, Started)
    master.service.forget(MASTER)
    await master.service.drained()
    assert list(master.reports) == [0]


@service(slots=1)
async def test_a_leaving_node_finishes_what_has_begun_and_returns_the_rest(master: Master) -> None:
    master.assign("import time\ndef task():\n    time.sleep(0.1)\n    return 'done'", call(), call())
    await master.last(0, Started)
    master.service.hand_back()
    assert isinstance(master.reports[1][-1], Returned)
    await master.service.drained()
    assert await master.value(0) == "done"


@service()
async def test_a_task_asks_its_node_in_the_name_of_its_job(master: Master) -> None:
    source = """
from potluck.overlay.wire import inside
def task(operation):
    try:
        return inside.call(operation, {"k": (1, 2)})
    except LookupError:
        raise
    except Exception as error:
        return [type(error).__name__, str(error)]
"""
    master.assign(source, call("get"), call("fail"))
    assert await master.value(0) == ["j", "get", {"k": (1, 2)}]
    assert await master.value(1) == ["NotFound", "nothing"]


@service()
async def test_a_worker_that_breaks_the_protocol_is_ended(master: Master) -> None:
    source = """
import os, time
from potluck.overlay.wire import inside
def task(x):
    os.write(inside.current()._descriptor, x)
    time.sleep(600)
"""
    lies = [b"\xff" * 20, b"\0\0\0\1\1\xc0", b"\0\0\0\7\1" + b"\x97\x04\xcd\xff\xff\xc0\xc0\xc2"]
    master.assign(source, *map(call, lies))
    for index in range(len(lies)):
        assert (await master.last(index)).fault.code == WorkerLost.wire_code


def test_instructions_are_logged_in_the_words_of_the_house(caplog: pytest.LogCaptureFixture) -> None:
    @service(slots=1)
    async def play(master: Master) -> None:
        master.assign("", values.encode("b1"), values.encode("b2"), form="kind")
        assert [await master.value(0), await master.value(1)] == ["b1", "b2"]
        master.assign("", values.encode("b3\nforged line"), form="kind", first=2)
        await master.last(2)

    with caplog.at_level(logging.INFO, logger="potluck.node"):
        play()
    assert caplog.messages == [
        "Node b1 received instructions: ['b1', 'b2']",
        "Node b1 executing: b1",
        "Node b1 executing: b2",
        "Node b1 received instructions: [\"'b3\\\\nforged line'\"]",
        "Node b1 executing: 'b3\\nforged line'",
    ]


@service(slots=3)
async def test_slots_run_side_by_side(master: Master) -> None:
    source = """
import time
def task():
    began = time.monotonic()
    time.sleep(0.3)
    return [began, time.monotonic()]
"""
    master.assign(source, call(), call(), call())
    spans: list[Any] = [await master.value(n) for n in range(3)]
    assert max(began for began, _ in spans) < min(ended for _, ended in spans)


@service(slots=2)
async def test_what_waits_behind_a_task_that_turns_out_long_runs_elsewhere(master: Master) -> None:
    source = "import time\ndef task(s):\n    time.sleep(s)\n    return s"
    master.assign(source, *(call(0) for _ in range(200)))
    for n in range(200):
        await master.value(n)
    master.assign(source, call(30), *(call(0) for _ in range(60)), first=200)
    for n in range(201, 261):
        assert await master.value(n) == 0
    assert isinstance(master.reports[200][-1], Started)


@service(sandboxes=[BareSandbox()], slots=1)
async def test_an_exception_comes_home_with_its_arguments(master: Master) -> None:
    master.assign("def task(): raise KeyError('k', 1)", call())
    fault = (await master.last(0)).fault
    assert (fault.code, fault.exception_type) == (TaskFailed.wire_code, "builtins.KeyError")
    assert values.decode_bytes(fault.exception_arguments) == ("k", 1)


def test_a_service_that_is_stopped_leaves_no_process() -> None:
    before = {process.pid for process in psutil.Process().children(recursive=True)}

    @service(slots=2)
    async def play(master: Master) -> None:
        master.assign("import os, time\ndef task():\n    os.fork()\n    time.sleep(600)", call(), call())
        await master.last(1, Started)

    play()
    assert {process.pid for process in psutil.Process(os.getpid()).children(recursive=True)} <= before


@service(slots=1)
async def test_output_goes_home_while_the_task_runs_and_with_its_end_what_is_left(master: Master) -> None:
    source = """
import sys, time

def task(until):
    print("begins")
    print("complains", file=sys.stderr)
    while not until(): time.sleep(0.01)
"""
    source = source.replace("until()", "os.path.exists(until)").replace("import sys", "import os, sys")
    with tempfile.TemporaryDirectory() as folder:
        until = Path(folder) / "go on"
        master.assign(source, call(str(until)), streams_output=True)
        said = await master.heard(lambda said: len(said) == 2)
        assert {(one.stream, one.data) for one in said} == {(1, b"begins\n"), (2, b"complains\n")}
        assert not any(isinstance(report, Finished) for report in master.reports.get(0, ()))
        until.touch()
        assert (await master.last(0)).stdout == b"begins\n"


@service(slots=1)
async def test_a_short_task_costs_no_message_for_what_it_prints(master: Master) -> None:
    master.assign("def task(n):\n    print(n)", *map(call, range(20)), streams_output=True)
    for n in range(20):
        assert (await master.last(n)).stdout == f"{n}\n".encode()
    assert not master.said


@service(slots=1)
async def test_who_floods_waits_for_those_who_watch_and_nothing_is_lost(master: Master) -> None:
    count = 3_000_000
    master.assign(f"def task():\n    print('x' * {count - 1}, flush=True)\n    return 1", call(), streams_output=True)
    ahead = await master.heard(lambda said: sum(len(one.data) for one in said) >= WINDOW_BYTES)
    await trio.sleep(0.2)
    assert sum(len(one.data) for one in ahead) <= WINDOW_BYTES + PENDING_BYTES + OUTPUT_PART_BYTES
    assert 0 not in master.reports or not any(isinstance(report, Finished) for report in master.reports[0])
    shown = 0
    while shown < count:
        before = shown
        shown = end_of(await master.heard(lambda said, before=before: end_of(said) > before))
        master.service.output_shown(MASTER, OutputTaken("j", shown))
    assert (await master.value(0)) == 1
    assert [one.position for one in master.said] == [
        sum(len(one.data) for one in master.said[:before]) for before in range(len(master.said))
    ]
    report = await master.last(0)
    assert report.stdout.startswith(b"x") and b"bytes of output are left out here" in report.stdout


def end_of(said: list[TaskOutput]) -> int:
    return said[-1].position + len(said[-1].data)


@service(slots=1)
async def test_what_nobody_has_shown_is_said_again_to_a_master_that_comes_back(master: Master) -> None:
    master.assign("import time\ndef task():\n    print('heard?')\n    time.sleep(60)", call(), streams_output=True)
    first = list(await master.heard(lambda said: len(said) == 1))
    master.assign("import time\ndef task():\n    print('heard?')\n    time.sleep(60)", call(), streams_output=True)
    assert await master.heard(lambda said: len(said) == 2) == first * 2
    master.service.output_shown(MASTER, OutputTaken("j", end_of(first)))
    master.assign("import time\ndef task():\n    print('heard?')\n    time.sleep(60)", call(), streams_output=True)
    assert len(master.said) == 2


async def give(master: Master, offset: int, data: bytes, **more: bool) -> None:
    """Once the task asks for it."""
    asked = InputWanted("j", 0, 0, offset)
    await master.heard(lambda said: asked in said)
    master.service.input_came(MASTER, InputPart("j", 0, 0, offset, data, **more))


READING = """
import os, sys
print(os.read(0, 3).decode(), flush=True)
os.system("head -c 3; echo")
print(sys.stdin.read())
"""


@service(slots=1)
async def test_a_script_its_children_and_its_descriptors_read_one_standard_input(master: Master) -> None:
    master.assign(READING, values.encode([]), form="script", takes_input=True)
    await give(master, 0, b"raw")
    master.service.input_came(MASTER, InputPart("j", 0, 0, 0, b"raw"))  # answered twice
    await give(master, 3, b"cat")
    await give(master, 6, b"to the end", end=True)
    assert (await master.last(0)).stdout == b"raw\ncat\nto the end\n"


@service(slots=1)
async def test_what_was_asked_for_is_asked_for_again_of_a_master_that_comes_back(master: Master) -> None:
    master.assign(READING, values.encode([]), form="script", takes_input=True)
    await master.heard(lambda said: len(said) == 1)
    master.assign(READING, values.encode([]), form="script", takes_input=True)
    assert await master.heard(lambda said: len(said) == 2) == [InputWanted("j", 0, 0, 0)] * 2


@service(slots=1)
async def test_a_task_whose_input_cannot_be_given_again_is_lost(master: Master) -> None:
    master.assign(READING, values.encode([]), form="script", takes_input=True)
    await give(master, 0, b"", gone=True)
    fault = (await master.last(0)).fault
    assert fault.code == WorkerLost.wire_code and "standard input" in fault.message


@service(slots=1)
async def test_the_next_script_does_not_read_what_the_one_before_has_left(master: Master) -> None:
    source = "import sys\nif sys.argv[1:]: print(sys.stdin.read())"
    calls = values.encode([]), values.encode(["read"])
    master.assign(source, *calls, form="script", takes_input=True)
    await give(master, 0, b"left", end=True)
    await master.heard(lambda said: InputWanted("j", 1, 0, 0) in said)
    master.service.input_came(MASTER, InputPart("j", 1, 0, 0, b"mine", end=True))
    assert (await master.last(1)).stdout == b"mine\n"


@service(slots=1)
async def test_what_cannot_be_opened_here_is_handed_back_before_anything_runs(master: Master) -> None:
    master.assign("def task(): return 1", call(), modules=["json", "absent"])
    report = await master.last(0, Returned)
    assert (report.code, report.reason) == (BadProgram.wire_code, "it lacks the Python package absent")
    master.assign("def task(): return 2", call(), first=1, modules=["json"])
    assert await master.value(1) == 2
