"""The execution service with real worker processes: what a master sees of it."""

from __future__ import annotations

import logging
import os
import tempfile

import psutil
import pytest
import trio
from potluck.node.execution.service import STARTS_AT_ONCE_MAX
from potluck.node.sandboxes.bare import BareSandbox
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
from potluck.overlay.ports import NO_ACCESS, Access, WorkerProcess
from potluck.overlay.wire import values
from potluck.overlay.wire.work import (
    CancelInstructions,
    Finished,
    Reference,
    Returned,
    Started,
    TaskComplete,
)

from ...kin import descendants
from ..sandboxes.sandbox_suite import call
from .service_world import MASTER, Master, service


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
    assert "bare does not guarantee network, filesystem" in report.reason


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
    os.write(inside.current()._socket.fileno(), x)
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
    """Each waits for the others."""
    with tempfile.TemporaryDirectory() as folder:
        source = f"""
import os, time, uuid
def task():
    open(os.path.join({folder!r}, uuid.uuid4().hex), "w").close()
    while len(os.listdir({folder!r})) < 3:
        time.sleep(0.01)
    return True
"""
        master.assign(source, call(), call(), call())
        assert [await master.value(number) for number in range(3)] == [True] * 3


class Counted(BareSandbox):
    """Knows how many of its processes were starting at the same time."""

    def __init__(self) -> None:
        super().__init__()
        self.starting = self.most = 0

    async def start(self, access: Access = NO_ACCESS) -> WorkerProcess:
        self.starting += 1
        self.most = max(self.most, self.starting)
        try:
            return await super().start(access)
        finally:
            self.starting -= 1


COUNTED = Counted()


@service(slots=20, sandboxes=[COUNTED])
async def test_a_node_of_many_slots_starts_a_few_workers_at_once(master: Master) -> None:
    """All at once none would be ready in time."""
    master.assign("import time\ndef task(): return time.sleep(0.2)", *[call()] * 20)
    for number in range(20):
        await master.value(number)
    assert 1 < COUNTED.most <= STARTS_AT_ONCE_MAX


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
    before = {process.pid for process in descendants(os.getpid())}

    @service(slots=2)
    async def play(master: Master) -> None:
        master.assign("import os, time\ndef task():\n    os.fork()\n    time.sleep(600)", call(), call())
        await master.last(1, Started)

    play()
    assert {process.pid for process in descendants(os.getpid())} <= before


@service(slots=1)
async def test_what_cannot_be_opened_here_is_handed_back_before_anything_runs(master: Master) -> None:
    master.assign("def task(): return 1", call(), modules=["json", "absent"])
    report = await master.last(0, Returned)
    assert (report.code, report.reason) == (BadProgram.wire_code, "it lacks the Python package absent")
    master.assign("def task(): return 2", call(), first=1, modules=["json"])
    assert await master.value(1) == 2
