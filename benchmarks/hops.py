"""Where the time of one round trip goes: hop by hop, and inside a node.

    python benchmarks/hops.py [--trips 1000] [--json]

The first table is of whole nodes, one task at a time: processor time of every process on the way, and how often its
threads were put on a core; what is left of the round trip is waiting for the next one to wake. The second measures the
rooms that a message passes within a node, each by itself. Medians of five; `ProcessPool` runs in between.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import json
import os
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import psutil
import trio
from plain_tls import contexts
from tasks import SLOTS, nodes, nothing, warm

ROUNDS = 5
REPEATED = 2000
Figures = dict[str, float]


# Whole nodes


class Scheduled:
    """What the kernel has counted for a process: processor time and turns on a core of all its threads."""

    def __init__(self, pid: int) -> None:
        self._pid = pid

    def read(self) -> tuple[float, int]:
        counted = [path.read_text().split() for path in Path(f"/proc/{self._pid}/task").glob("*/schedstat")]
        return sum(int(line[0]) for line in counted) / 1e3, sum(int(line[2]) for line in counted)


def round_trips_us(pool: concurrent.futures.Executor, trips: int) -> float:
    samples = []
    for number in range(trips):
        began = time.perf_counter()
        pool.submit(nothing, number).result()
        samples.append(time.perf_counter() - began)
    return 1e6 * statistics.median(samples)


def hops(which: str, trips: int) -> Figures:
    """One run of whole nodes, with a ProcessPool beside it."""
    import potluck

    slots = {"asked": SLOTS} if which == "own" else {"asked": 0, "worker": SLOTS}
    with (
        tempfile.TemporaryDirectory() as folder,
        nodes(Path(folder), **slots) as running,
        potluck.Executor(node="asked") as pool,
        concurrent.futures.ProcessPoolExecutor(SLOTS) as other,
    ):
        warm(pool)
        warm(other)
        rows = []
        for _ in range(ROUNDS):
            counted = _family(running)
            before = {name: [one.read() for one in ones] for name, ones in counted.items()}
            row = {"whole trip": round_trips_us(pool, trips)}
            for name, ones in counted.items():
                row[name], row[f"{name}, turns"] = _grown(before[name], [one.read() for one in ones], trips)
            rows.append(row | {"ProcessPool": round_trips_us(other, trips)})
        medians = {what: statistics.median(row[what] for row in rows) for what in rows[0]}
        busy_us = sum(medians[name] for name in counted)
        return medians | {"nobody runs": max(0.0, medians["whole trip"] - busy_us)}


def _family(running: dict[str, psutil.Process]) -> dict[str, list[Scheduled]]:
    sandboxes = [child.pid for node in running.values() for child in node.children(recursive=True)]
    return {
        "program": [Scheduled(os.getpid())],
        **{f"node {name}": [Scheduled(process.pid)] for name, process in running.items()},
        "sandboxed processes": [Scheduled(pid) for pid in sandboxes],
    }


def _grown(before: list[tuple[float, int]], after: list[tuple[float, int]], trips: int) -> tuple[float, float]:
    """For each trip."""
    cpu_us = sum(end[0] - begin[0] for begin, end in zip(before, after, strict=True))
    turns = sum(end[1] - begin[1] for begin, end in zip(before, after, strict=True))
    return cpu_us / trips, turns / trips


# Inside a node


def timed_us(work: Callable[[int], object]) -> float:
    """The best of five: what it costs where nothing disturbs."""
    best = float("inf")
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for number in range(REPEATED):
            work(number)
        best = min(best, time.perf_counter() - began)
    return 1e6 * best / REPEATED


def turn_us() -> float:
    """A message in by a socket and out by an outbox: one turn of the event loop, without anything between."""
    from potluck.overlay.outbox import Outbox
    from potluck.overlay.transport.sockets import SocketStream

    async def main() -> float:
        ours, theirs = (SocketStream(end, "gone") for end in socket.socketpair())
        outbox = Outbox()

        async def echo() -> None:
            while data := await theirs.receive_some():
                outbox.put(data)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(outbox.run, theirs)
            nursery.start_soon(echo)
            samples = []
            for _ in range(REPEATED):
                began = time.perf_counter()
                ours.send_now(bytes(200))
                await ours.receive_some()
                samples.append(time.perf_counter() - began)
            nursery.cancel_scope.cancel()
        return 1e6 * statistics.median(samples) / 2  # the one who measures takes a turn, too

    return trio.run(main)


def tls_us() -> float:
    """One record of 200 bytes, sealed at one end and opened at the other."""
    server, client = contexts()
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there)]
    while sum(map(_shaken, reversed(ends))) < len(ends):  # each has a turn, whatever the other says
        pass

    def once(_: int) -> None:
        ends[1].write(bytes(200))
        ends[0].read(16 << 10)

    return timed_us(once)


def _shaken(end: ssl.SSLObject) -> bool:
    try:
        end.do_handshake()
    except ssl.SSLWantReadError:
        return False
    return True


def messages() -> Iterator[tuple[str, object, object]]:
    """Every message on the way of one task on another node, with its codec."""
    from potluck.overlay.wire import control, worker
    from potluck.overlay.wire.peer import PEER
    from potluck.overlay.wire.work import (
        ExecutionConfirmation,
        Finished,
        Inline,
        Instruction,
        InstructionAssignment,
        Program,
    )

    program, arguments = Program(bytes(32), "callable"), Inline(bytes(25))
    report = Finished(7, 0, Inline(bytes(2)), started_s=1.0, elapsed_s=1e-5)
    yield "Submit", control.TO_NODE, control.Submit("job", program, [control.TaskSpec(7, arguments)])
    assignment = InstructionAssignment("job", 1, program, [Instruction(7, arguments)])
    yield "INSTRUCTION_ASSIGNMENT", PEER, assignment
    yield "RunTask", worker.TO_WORKER, worker.RunTask(7, 1, arguments)
    yield "TaskFinished", worker.FROM_WORKER, worker.TaskFinished(7, Inline(bytes(2)), elapsed_s=1e-5)
    yield "EXECUTION_CONFIRMATION", PEER, ExecutionConfirmation("job", 1, [report])
    yield "TaskReports", control.TO_PROGRAM, control.TaskReports("job", [control.NodeReports("n", True, [report])])


def codec_us() -> Figures:
    """Encoding and decoding, in microseconds together."""
    figures = {}
    for name, codec, message in messages():

        def both(_: int, codec=codec, message=message) -> None:
            frames = codec.frames()
            frames.feed(codec.encode(message))
            codec.decode(frames.next_body())

        figures[f"{name}, encoded and decoded"] = timed_us(both)
    return figures


def master_us() -> float:
    """A task from its submission to its acceptance, for the engine that places it."""
    from potluck.node.jobs.master import Master
    from potluck.node.jobs.placement import Worker
    from potluck.overlay.config import Jobs
    from potluck.overlay.ids import NodeId
    from potluck.overlay.wire.capabilities import Capabilities
    from potluck.overlay.wire.control import JobOptions, TaskSpec
    from potluck.overlay.wire.work import Finished, Inline, Program

    master, node_id = Master(Jobs(), "3.11", Random(0)), NodeId(bytes(20))
    master.worker_up(0.0, Worker(node_id, "n", bytes(16), Capabilities(slots=2, python="3.11"), own=True, here=True))
    master.open("job", JobOptions())
    program, count = Program(bytes(32), "callable", body=Inline(b"")), iter(range(1 << 30))

    def once(_: int) -> None:
        index = next(count)
        master.submit(0.0, "job", program, [TaskSpec(index, Inline(bytes(25)))])
        master.confirmed(0.0, node_id, "job", 1, [Finished(index, 0, Inline(bytes(2)), elapsed_s=1e-5)])

    return timed_us(once)


def execution_us() -> float:
    """A task from its assignment to its confirmation, for the engine that runs it."""
    from potluck.node.execution import events
    from potluck.node.execution.engine import Engine
    from potluck.node.execution.intake import Place
    from potluck.node.lending.quotas import Quotas
    from potluck.node.resources.grants import Grants
    from potluck.node.resources.slots import Slots
    from potluck.node.scheduling.fcfs import FirstCome
    from potluck.overlay.config import Execution, Quota
    from potluck.overlay.wire.capabilities import Guarantees
    from potluck.overlay.wire.work import Inline, Instruction, InstructionAssignment, Program
    from potluck.overlay.wire.worker import RunTask

    places = [Place(for_others=True)]
    engine = Engine(
        Execution(),
        FirstCome(),
        slots=Slots(2, range(2)),
        grants=Grants(0, 0),
        quotas=Quotas(Quota()),
        places=places,
        own_owner=b"o",
    )
    for effect in engine.step(0.0, events.Tick()):
        engine.step(0.0, events.WorkerStarted(effect.worker, Guarantees()))
    program, count = Program(bytes(32), "callable", body=Inline(b"")), iter(range(1 << 30))

    def once(_: int) -> None:
        message = InstructionAssignment("job", 1, program, [Instruction(next(count), Inline(bytes(25)))])
        effects = engine.step(0.0, events.Assigned(b"m", b"o", message))
        send = next(effect for effect in effects if isinstance(effect, events.Send))
        task = next(one for one in send.messages if isinstance(one, RunTask))
        reply = events.Reply(task.task, Inline(bytes(2)), elapsed_s=1e-5)
        engine.step(0.0, events.WorkerReplied(send.worker, [reply]))

    return timed_us(once)


def rooms() -> Figures:
    return {
        "a turn of the event loop: in, out": turn_us(),
        "TLS, sealed and opened": tls_us(),
        **codec_us(),
        "engine of the master": master_us(),
        "engine of execution": execution_us(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trips", type=int, default=1000)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    tables = {f"{which} node": hops(which, options.trips) for which in ("own", "other")} | {"inside a node": rooms()}
    if options.json:
        print(json.dumps(tables))
        return
    for title, figures in tables.items():
        print(f"| {title}, µs | |\n|---|---|")
        for what, value in figures.items():
            print(f"| {what} | {value:,.1f} |")
        print()


if __name__ == "__main__":
    main()
