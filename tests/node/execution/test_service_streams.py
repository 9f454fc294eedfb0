"""What running tasks print and read, with real worker processes: what a master sees of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import trio
from potluck.node.execution.listening import PENDING_BYTES
from potluck.node.execution.outgoing import WINDOW_BYTES
from potluck.overlay.errors import WorkerLost
from potluck.overlay.ports import OUTPUT_PART_BYTES
from potluck.overlay.wire import values
from potluck.overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput
from potluck.overlay.wire.work import Finished

from ..sandboxes.sandbox_suite import call
from .service_world import MASTER, Master, service


@service(slots=1)
async def test_output_goes_home_while_the_task_runs_and_with_its_end_what_is_left(master: Master) -> None:
    source = """
import os, sys, time

def task(until):
    print("begins")
    print("complains", file=sys.stderr)
    while not os.path.exists(until): time.sleep(0.01)
"""
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
        master.service.output_shown(MASTER, OutputTaken("j", shown, ahead[0].begun))
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
    master.service.output_shown(MASTER, OutputTaken("j", end_of(first), first[0].begun))
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
