"""Arguments and results too long for a message, through real nodes: they come whole, and leave nothing behind."""

from __future__ import annotations

import functools
import hashlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from potluck.client.executor import Executor
from potluck.client.options import options
from potluck.overlay.errors import WorkerLost

from ..verbs.mesh import Mesh, mesh

pytestmark = pytest.mark.processes

PATIENCE_S = 60.0
MIB = 1 << 20


@dataclass
class Pair:
    mesh: Mesh
    pids: dict[str, int]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    with mesh(tmp_path_factory.mktemp("pair")) as made:
        yield Pair(made, {name: made.up(name, "--memory=1G")["pid"] for name in ("ant", "bee")})


@pytest.fixture(scope="module")
def pool(pair: Pair) -> Iterator[Executor]:
    with Executor("ant", surroundings=pair.mesh.surroundings) as made:
        yield made


def payloads(pid: int, size_bytes: int) -> int:
    """How many of this size a process has open. (The program's own modules are others, kept with their job.)"""
    held = 0
    for each in Path(f"/proc/{pid}/fd").iterdir():
        try:
            ours = "memfd:potluck " in str(each.readlink())
            held += ours and size_bytes <= each.stat().st_size < size_bytes + 4096
        except FileNotFoundError:
            pass  # closed meanwhile
    return held


def wait_until_gone(pids: Iterable[int], size_bytes: int) -> None:
    for pid in pids:
        wait_until(functools.partial(lambda pid: payloads(pid, size_bytes) == 0, pid))


def most_resident_bytes(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) << 10


def wait_until(met: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + PATIENCE_S
    while not met():
        assert time.monotonic() < deadline_s, "it took too long"
        threading.Event().wait(0.01)


def same(value: object) -> object:
    return value


def doubled_in_place(array: np.ndarray) -> np.ndarray:
    array *= 2
    return array


def long_then_dies(data: bytes) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def never_ends() -> None:
    threading.Event().wait()


here = pytest.mark.parametrize("where", ["ant", "bee"])


@here
def test_what_is_long_comes_whole(pool: Executor, where: str) -> None:
    on = options(on=where)
    for size in (64 << 10, (64 << 10) + 1, MIB, 5 * MIB + 3):
        data = os.urandom(size)
        assert pool.submit(on(same), data).result(PATIENCE_S) == data
    arrays = [np.arange(n, dtype="f8") for n in (10, 100_000, 1_000_003)]
    for found, array in zip(pool.submit(on(same), arrays).result(PATIENCE_S), arrays, strict=True):
        assert (found == array).all()
        assert found.flags.writeable and found.flags.aligned


@here
def test_a_task_and_its_program_change_what_is_theirs_alone(pool: Executor, where: str) -> None:
    array = np.ones(200_000)
    futures = [pool.submit(options(on=where)(doubled_in_place), array) for _ in range(3)]
    for future in futures:
        found = future.result(PATIENCE_S)
        assert (found == 2).all()
        found += 1
    assert (array == 1).all()


def test_a_long_argument_is_not_copied_into_the_own_node(pair: Pair, pool: Executor) -> None:
    array = np.ones(96 * MIB // 8)
    before = most_resident_bytes(pair.pids["ant"])
    assert pool.submit(options(on="ant")(same), array).result(PATIENCE_S).nbytes == array.nbytes
    assert most_resident_bytes(pair.pids["ant"]) - before < array.nbytes / 2


@here
def test_hundreds_leave_nothing_behind(pair: Pair, pool: Executor, where: str) -> None:
    data = os.urandom(100_000)
    futures = [pool.submit(options(on=where)(functools.partial(same)), data) for _ in range(300)]
    assert all(future.result(PATIENCE_S * 2) == data for future in futures)
    del futures
    wait_until_gone([*pair.pids.values(), os.getpid()], len(data))


@here
def test_who_dies_with_a_long_payload_leaves_none_behind(pair: Pair, pool: Executor, where: str) -> None:
    once = options(on=where, retries=0)
    with pytest.raises(WorkerLost):
        pool.submit(once(long_then_dies), os.urandom(MIB)).result(PATIENCE_S)
    wait_until_gone(pair.pids.values(), MIB)


def test_a_program_that_goes_leaves_nothing_at_its_node(pair: Pair) -> None:
    with Executor("ant", surroundings=pair.mesh.surroundings) as pool:
        for _ in range(5):
            pool.submit(options(on="ant")(never_ends))
            pool.submit(options(on="ant")(same), os.urandom(MIB))
        wait_until(lambda: payloads(pair.pids["ant"], MIB) == 5)
        pool.abandon()
    wait_until_gone([pair.pids["ant"]], MIB)


def made(size_bytes: int) -> bytes:
    return os.urandom(size_bytes)


def test_results_that_come_faster_than_they_are_taken_wait_where_there_is_room(tmp_path: Path) -> None:
    """On nodes that lend little, and each of them would do."""
    with mesh(tmp_path) as small:
        small.up("ant", "--memory=40M")
        small.up("bee", "--memory=20M", "--slots=4")
        small.await_seen("bee", by="ant")
        with Executor("ant", surroundings=small.surroundings) as pool:
            futures = [pool.submit(made, 300_000) for _ in range(600)]
            assert {len(future.result(PATIENCE_S)) for future in futures} == {300_000}
            lengths = [len(hashlib.sha256(4 * value).hexdigest()) for value in pool.map(made, [MIB] * 200)]
            assert lengths == [64] * 200
