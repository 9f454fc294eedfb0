"""`potluck.Executor` on real nodes: what the standard executors promise, and what only a mesh can."""

from __future__ import annotations

import concurrent.futures
import functools
import itertools
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import potluck
import psutil
import pytest
from potluck.client.executor import Executor
from potluck.client.redialling import Redialler
from potluck.overlay.errors import LinkLost

from ..kin import descendants
from ..verbs.mesh import Mesh, mesh

pytestmark = pytest.mark.processes


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("pair"), ["ant", "bee"]) as made:
        yield made


@pytest.fixture(scope="module")
def pool(pair: Mesh) -> Iterator[Executor]:
    with Executor(surroundings=pair.surroundings) as made:
        yield made


@dataclass(frozen=True)
class Point:
    x: int
    y: int


class OwnError(Exception):
    pass


def shift(point: Point, by: int) -> Point:
    return Point(point.x + by, point.y + by)


def fail(error: BaseException) -> None:
    raise error


def work(cost_s: float) -> None:
    time.sleep(cost_s)


def sleep(duration_s: float) -> float:
    time.sleep(duration_s)
    return duration_s


def test_calls_have_their_results(pool: Executor) -> None:
    assert pool.submit(pow, 2, 10).result(30) == 1024
    assert pool.submit(int, "ff", base=16).result(30) == 255
    assert pool.submit(lambda: "closure").result(30) == "closure"
    assert pool.submit(functools.partial(pow, 3), 2).result(30) == 9
    assert pool.submit("text".upper).result(30) == "TEXT"


def test_classes_of_the_program_travel_both_ways(pool: Executor) -> None:
    point = pool.submit(shift, Point(1, 2), 3).result(30)
    assert point == Point(4, 5)
    assert type(point) is Point


def test_arrays_of_any_size_travel(pool: Executor) -> None:
    for size in (10, 10_000, 1_000_000):
        array = np.arange(size, dtype=np.float64)
        assert np.array_equal(pool.submit(np.multiply, array, 2).result(60), array * 2)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no", 3),
        KeyError("k"),
        OwnError("mine"),
        FileNotFoundError(2, "gone"),
        SystemExit(3),
        KeyboardInterrupt("of its own"),
    ],
)
def test_an_exception_is_itself_with_the_remote_traceback(pool: Executor, error: BaseException) -> None:
    future = pool.submit(fail, error)
    with pytest.raises(type(error)) as caught:
        future.result(30)
    assert caught.value.args == error.args
    assert "raise error" in str(caught.value.__cause__)


def test_what_cannot_be_pickled_fails_its_own_future(pool: Executor) -> None:
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(len, threading.Lock()).result(30)
    lock = threading.Lock()
    with pytest.raises(TypeError, match="pickle"):
        pool.submit(lambda: lock).result(30)


def test_many_small_calls_all_come_back(pool: Executor) -> None:
    futures = [pool.submit(abs, -number) for number in range(5000)]
    assert [future.result(60) for future in futures] == list(range(5000))


def test_map_keeps_order_and_takes_endless_inputs(pool: Executor) -> None:
    assert list(pool.map(pow, range(500), itertools.repeat(2))) == [number**2 for number in range(500)]
    assert list(itertools.islice(pool.map(abs, itertools.count()), 3000)) == list(range(3000))
    assert list(pool.map(abs, range(20), chunksize=7)) == list(range(20))


def test_map_runs_without_being_iterated_and_times_out(pool: Executor) -> None:
    with pytest.raises(TimeoutError):
        list(pool.map(sleep, [3], timeout=0.1))


def test_options_are_obeyed(pool: Executor) -> None:
    def where() -> str:
        import os

        return f"{os.getpid()}"

    future = pool.submit(potluck.options(on="bee")(where))
    future.result(30)
    assert future.node == "bee"  # type: ignore[attr-defined]
    with pytest.raises(potluck.TaskTimedOut):
        pool.submit(potluck.options(timeout=0.3)(sleep), 30).result(30)
    with pytest.raises(potluck.WorkerLost):
        pool.submit(potluck.options(retries=0)(os._exit), 3).result(30)


def test_a_running_call_can_be_killed(pool: Executor) -> None:
    future = pool.submit(sleep, 60)
    while not future.running():
        concurrent.futures.wait([future], 0.02)
    assert not future.cancel()
    assert potluck.cancel(future)
    with pytest.raises(potluck.Cancelled):
        future.result(30)
    assert not potluck.cancel(future)


def test_shutdown_refuses_further_calls_and_may_cancel_what_waits(pair: Mesh) -> None:
    pool = Executor(surroundings=pair.surroundings)
    running = [pool.submit(sleep, 0.3) for _ in range(40)]
    pool.shutdown(wait=True, cancel_futures=True)
    assert all(future.done() for future in running)
    assert any(future.cancelled() for future in running)
    with pytest.raises(RuntimeError):
        pool.submit(abs, 1)


def test_shutdown_cancels_what_waits_while_a_call_that_has_begun_opens_a_job() -> None:
    """In another thread, which had found the pool open."""
    pool: Any = Executor()
    cancelled: list[int] = []

    class Job:
        def unfinished(self) -> list[Any]:
            pool._jobs[len(pool._jobs)] = self
            return [SimpleNamespace(cancel=lambda: cancelled.append(1))]

    pool._connection = SimpleNamespace(is_own_thread=True, close_when_idle=lambda: None)
    pool._jobs = {0: Job(), 1: Job()}
    pool.shutdown(cancel_futures=True)
    assert cancelled == [1, 1]
    pool._connection = None


def test_shutdown_without_waiting_still_finishes(pair: Mesh) -> None:
    pool = Executor(surroundings=pair.surroundings)
    futures = [pool.submit(sleep, 0.05) for _ in range(10)]
    pool.shutdown(wait=False)
    assert [future.result(30) for future in futures] == [0.05] * 10


def test_a_node_that_is_not_running_is_named(pair: Mesh) -> None:
    with pytest.raises(potluck.NoNode, match="'else'"):
        Executor("else", surroundings=pair.surroundings).submit(abs, 1)


def test_a_map_of_nothing_needs_no_node(pair: Mesh) -> None:
    assert list(Executor("else", surroundings=pair.surroundings).map(abs, [])) == []


def test_pending_calls_are_done_by_the_node_that_follows_the_one_killed(tmp_path: Path) -> None:
    with mesh(tmp_path) as made:
        made.up("ant", "--slots=2")
        pool = Executor(surroundings=made.surroundings)
        pending = pool.submit(sleep, 2)
        held = pool.submit(potluck.options(at_most_once=True)(sleep), 60)
        begun = threading.Event()
        while not (pending.running() and held.running()):
            begun.wait(0.02)
        killed = made.nodes.pop("ant")
        killed.process.kill()
        killed.stop()
        made.up("ant", "--slots=2")
        assert pending.result(30) == 2
        with pytest.raises(potluck.WorkerLost):
            held.result(30)
        pool.shutdown()


def program(folder: Path, text: str) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")}
    environment |= {"POTLUCK_DATA_DIR": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)}
    folder.chmod(0o700)
    (folder / "helper.py").write_text("def triple(number):\n    return 3 * number\n")
    (folder / "program.py").write_text(textwrap.dedent(text))
    return subprocess.Popen(
        [sys.executable, "program.py"],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def private_nodes(folder: Path) -> list[psutil.Process]:
    return [
        process
        for process in psutil.process_iter(["environ", "cmdline"])
        if str(folder) in (process.info["environ"] or {}).get("POTLUCK_DATA_DIR", "")
        and "--private" in (process.info["cmdline"] or [])
    ]


def test_without_a_node_a_program_gets_a_private_one_that_goes_with_it(tmp_path: Path) -> None:
    process = program(
        tmp_path,
        """
        import potluck, helper
        pool = potluck.Executor()
        future = pool.submit(helper.triple, 14)
        future.add_done_callback(lambda done: print(done.result()))
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("42\n", "", 0)
    assert not private_nodes(tmp_path)
    assert not list(tmp_path.glob("potluck-private-*"))


def test_a_callback_that_exits_is_told_of_and_ends_nothing_else(tmp_path: Path) -> None:
    process = program(
        tmp_path,
        """
        import sys, potluck
        with potluck.Executor() as pool:
            first = pool.submit(abs, -1)
            first.add_done_callback(lambda done: sys.exit(1))
            first.add_done_callback(lambda done: print("the next one"))
            print(first.result(30), pool.submit(abs, -2).result(30))
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (sorted(out.splitlines()), process.returncode) == (["1 2", "the next one"], 0)
    assert "exception calling callback" in err


def test_what_a_task_has_printed_is_shown_before_its_result_is_there(tmp_path: Path) -> None:
    process = program(
        tmp_path,
        """
        import potluck
        def says(number):
            print("the task", number)
            return number
        with potluck.Executor() as pool:
            for number in range(40):
                print("the program", pool.submit(says, number).result(30), flush=True)
        """,
    )
    out, _ = process.communicate(timeout=60)
    assert out.splitlines() == [f"the {who} {number}" for number in range(40) for who in ("task", "program")]


def test_a_program_may_end_before_its_node_has_begun(tmp_path: Path) -> None:
    """Some versions of Python start no thread any more once the main one has ended."""
    process = program(
        tmp_path,
        """
        import threading, potluck
        from potluck.client.private import PrivateNode

        def dial_late(self, dial=PrivateNode.dial):
            threading.main_thread().join()
            return dial(self)

        PrivateNode.dial = dial_late
        potluck.Executor().submit(abs, -14).add_done_callback(lambda done: print(done.result()))
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("14\n", "", 0)


def test_a_private_node_that_dies_is_followed_by_another_which_does_what_is_unfinished(tmp_path: Path) -> None:
    process = program(
        tmp_path,
        """
        import concurrent.futures, os, time, potluck
        with potluck.Executor() as pool:
            pending = pool.submit(time.sleep, 1)
            while not pending.running():
                concurrent.futures.wait([pending], 0.02)
            potluck.client.private.OF_PROGRAM._node.process.kill()
            print(pool.submit(abs, -2).result(), pending.result())
        with potluck.Executor() as pool:
            print(pool.submit(abs, -3).result())
        """,
    )
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("2 None\n3\n", 0)
    assert "waits for a node of yours" in err
    assert not private_nodes(tmp_path)
    assert not list(tmp_path.glob("potluck-private-*"))


def test_a_killed_program_leaves_nothing_behind(tmp_path: Path) -> None:
    process = program(
        tmp_path,
        """
        import concurrent.futures, potluck, time
        with potluck.Executor() as pool:
            future = pool.submit(time.sleep, 60)
            while not (future.running() or future.done()):
                concurrent.futures.wait([future], 0.02)
            print("running", flush=True)
            future.result()
        """,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "running\n"
    nodes = private_nodes(tmp_path)
    family = [*nodes, *(child for node in nodes for child in descendants(node.pid))]
    assert nodes
    process.kill()
    process.communicate(timeout=30)
    _, alive = psutil.wait_procs(family, 10)
    assert not alive
    assert not list(tmp_path.glob("potluck-private-*"))


def assert_ends_by_ctrl_c(process: subprocess.Popen[str], folder: Path) -> None:
    """At once, once it has said its first line."""
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=10)
    assert "KeyboardInterrupt" in err
    assert not private_nodes(folder)


@pytest.mark.parametrize("waits_in", ["its body", "its end"])
def test_ctrl_c_ends_a_waiting_program_at_once(tmp_path: Path, waits_in: str) -> None:
    process = program(
        tmp_path,
        f"""
        import concurrent.futures, potluck, time
        with potluck.Executor() as pool:
            future = pool.submit(time.sleep, 60)
            while not (future.running() or future.done()):
                concurrent.futures.wait([future], 0.02)
            print("running", flush=True)
            if {waits_in == "its body"}:
                future.result()
        """,
    )
    assert_ends_by_ctrl_c(process, tmp_path)


def test_ctrl_c_ends_a_program_that_has_left_its_executor_open(tmp_path: Path) -> None:
    """Which else waits at its end for what runs."""
    process = program(
        tmp_path,
        """
        import concurrent.futures, potluck, time
        future = potluck.Executor().submit(time.sleep, 60)
        while not (future.running() or future.done()):
            concurrent.futures.wait([future], 0.02)
        print("running", flush=True)
        future.result()
        """,
    )
    assert_ends_by_ctrl_c(process, tmp_path)


def test_whoever_shuts_it_down_in_a_callback_loses_nothing(pair: Mesh) -> None:
    executor = Executor(surroundings=pair.surroundings)
    futures = [executor.submit(work, cost_s) for cost_s in (0.1, 1, 1, 1)]
    took_s: list[float] = []

    def shut_down(_done: object) -> None:
        began_s = time.monotonic()
        executor.shutdown()
        took_s.append(time.monotonic() - began_s)

    futures[0].add_done_callback(shut_down)
    assert [future.result(30) for future in futures] == [None] * 4
    assert took_s[0] < 1.0
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(abs, 1)


@pytest.mark.parametrize("thread", ["potluck-reader", "potluck-writer"])
@pytest.mark.parametrize("has_started", [False, True])
def test_an_executor_whose_first_call_was_interrupted_begins_anew(
    pair: Mesh, monkeypatch: pytest.MonkeyPatch, thread: str, has_started: bool
) -> None:
    start, interrupted = threading.Thread.start, list[str]()

    def interrupt(self: threading.Thread) -> None:
        if self.name == thread and not interrupted:
            interrupted.append(thread)
            if has_started:
                start(self)
            raise KeyboardInterrupt
        start(self)

    monkeypatch.setattr(threading.Thread, "start", interrupt)
    executor = Executor(surroundings=pair.surroundings)
    with pytest.raises(KeyboardInterrupt):
        executor.submit(abs, -1)
    assert executor.submit(abs, -2).result(30) == 2
    executor.shutdown()


def test_an_executor_that_has_given_up_its_node_goes_on_with_one_that_runs_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("potluck.client.executor.Redialler", functools.partial(Redialler, patience_s=0.2))
    with mesh(tmp_path, ["ant"]) as made, Executor(surroundings=made.surroundings) as executor:
        assert executor.submit(abs, -1).result(30) == 1
        killed = made.nodes.pop("ant")
        killed.process.kill()
        killed.stop()
        with pytest.raises(LinkLost):
            executor.submit(work, 60).result(30)
        made.up("ant")
        assert executor.submit(abs, -2).result(30) == 2
        assert list(executor.map(abs, [-3, -4])) == [3, 4]
