"""Forked children: never a hang, and nothing of the parent's is disturbed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import potluck
import pytest
from potluck.client import processes
from potluck.client.executor import Executor

from ..verbs.mesh import Mesh, mesh

pytestmark = [pytest.mark.processes, pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")]

CHILD_S = 60


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("fork"), ["ant"]) as made:
        yield made


def in_child(work: Callable[[], None]) -> int:
    """The exit code of a forked child that does `work`; 1 if it raised, -14 if it hung."""
    child = os.fork()
    if child == 0:
        signal.alarm(CHILD_S)
        try:
            work()
        except BaseException as error:  # noqa: BLE001  told by the exit code; a child must not run on into pytest
            os.write(2, repr(error).encode())
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def note(called: Path) -> None:
    with called.open("a") as file:
        file.write(f"{os.getpid()}\n")


def sleep(duration_s: float) -> float:
    import time

    time.sleep(duration_s)
    return duration_s


def test_a_fork_waits_while_a_node_is_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else the child would keep the pipe by which Popen hears that the node runs, for as long as it lives."""
    begins, may_go_on, forked = (threading.Event() for _ in range(3))

    def slowly(*_args: object, **_kwargs: object) -> None:
        begins.set()
        assert may_go_on.wait(30)

    def fork() -> None:
        assert in_child(lambda: None) == 0
        forked.set()

    monkeypatch.setattr(processes.subprocess, "Popen", slowly)
    node = processes.NodeProcess([], {}, None)
    threads = [threading.Thread(target=node.start), threading.Thread(target=fork)]
    threads[0].start()
    assert begins.wait(30)
    threads[1].start()
    assert not forked.wait(0.3)
    may_go_on.set()
    for thread in threads:
        thread.join()
    assert forked.is_set()


def test_a_copied_future_says_whose_it_is_and_the_parents_resolves(node: Mesh) -> None:
    with Executor(surroundings=node.surroundings) as pool:
        done = pool.submit(abs, -1)
        assert done.result(30) == 1
        pending = pool.submit(sleep, 0.5)

        def child() -> None:
            assert done.result(0) == 1
            with pytest.raises(potluck.LinkLost, match="forked"):
                pending.result(10)

        assert in_child(child) == 0
        assert pending.result(30) == 0.5


def test_a_child_has_a_connection_of_its_own(node: Mesh) -> None:
    with Executor(surroundings=node.surroundings) as pool:
        pending = pool.submit(sleep, 0.5)

        def child() -> None:
            assert pool.submit(abs, -2).result(30) == 2
            assert list(pool.map(abs, range(20))) == list(range(20))
            pool.shutdown()

        assert in_child(child) == 0
        assert pending.result(30) == 0.5
        assert pool.submit(abs, -3).result(30) == 3


def test_leaving_a_pool_in_a_child_leaves_the_parents_alone(node: Mesh) -> None:
    with Executor(surroundings=node.surroundings) as pool:
        pending = pool.submit(sleep, 0.5)
        assert in_child(pool.shutdown) == 0
        assert pending.result(30) == 0.5


def test_callbacks_of_the_parent_are_not_called_in_the_child(node: Mesh, tmp_path: Path) -> None:
    called = tmp_path / "called"
    with Executor(surroundings=node.surroundings) as pool:
        pending = pool.submit(sleep, 0.5)
        pending.add_done_callback(lambda _future: note(called))
        assert in_child(lambda: None) == 0
        pending.result(30)
    assert called.read_text() == f"{os.getpid()}\n"


def run(folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("POTLUCK_")}
    environment |= {"POTLUCK_DATA_DIR": str(folder / "data"), "XDG_RUNTIME_DIR": str(folder), "TMPDIR": str(folder)}
    folder.chmod(0o700)
    program = folder / "program.py"
    program.write_text(textwrap.dedent(source))
    command = [sys.executable, "-W", "ignore::DeprecationWarning", str(program)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=90, stdin=subprocess.DEVNULL, check=False
    )


def test_a_child_of_a_program_with_a_private_node_may_outlive_it_and_exit_in_any_way(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import os, sys, time, potluck
        pool = potluck.Executor()
        print(pool.submit(abs, -1).result(), flush=True)
        pending = pool.submit(time.sleep, 0.2)
        child = os.fork()
        if child == 0:
            sys.exit(7)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
        pending.result()
        """,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("1\n7\n", "", 0)
    assert not list(tmp_path.glob("potluck-private-*"))


def test_a_child_gets_a_private_node_of_its_own(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import os, sys, potluck
        with potluck.Executor() as pool:
            assert pool.submit(abs, -1).result() == 1
            child = os.fork()
            if child == 0:
                print(pool.submit(abs, -2).result(), flush=True)
                pool.shutdown()
                sys.exit(0)
            assert os.waitpid(child, 0)[1] == 0
            print(pool.submit(abs, -3).result(), flush=True)
        """,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("2\n3\n", "", 0)
    assert not list(tmp_path.glob("potluck-private-*"))


def test_programs_share_one_private_node_with_their_memory(tmp_path: Path) -> None:
    done = run(
        tmp_path,
        """
        import potluck
        from potluck import memory

        def remember(key):
            memory[key] = 42
            return memory[key]

        try:
            potluck.memory["k"]
        except potluck.NoNode as error:
            print(error)
        with potluck.Executor() as one, potluck.Executor() as two:
            print(one.submit(remember, "k").result(), potluck.memory["k"], flush=True)
            print(one._connection.greeted.result().node_id == two._connection.greeted.result().node_id)
        """,
    )
    assert done.stderr == ""
    assert done.stdout.splitlines() == ["no node is running here: start one with `potluck up`", "42 42", "True"]
