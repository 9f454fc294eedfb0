"""What a script prints comes home while it runs, and it reads what it is told, over the network and all."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
from potluck.client.executor import Executor
from potluck.client.options import options

from .mesh import Mesh, mesh

pytestmark = pytest.mark.processes

FLOOD_MEMORY_BYTES = 48 << 20
"""A node may grow by so much, and no more, however much goes through it."""


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    with mesh(tmp_path_factory.mktemp("pair"), ["ant", "bee"]) as made:
        yield made


@contextmanager
def typed(pair: Mesh, *arguments: str, stdin: Any = subprocess.DEVNULL) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-m", "potluck", "run", "--node", "ant", "--on", "bee", *arguments],
        env=pair.environment,
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
        process.kill()


def test_a_script_is_heard_while_it_runs(pair: Mesh) -> None:
    source = """
import sys, time
print("out")
print("err", file=sys.stderr)
print("half", end="", flush=True)
time.sleep(60)
"""
    with typed(pair, "-c", source) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == "out\n"
        assert process.stderr.readline() == "err\n"
        assert process.stdout.read(4) == "half"


def test_all_of_it_comes_in_order_and_the_value_on_a_line_of_its_own(pair: Mesh) -> None:
    said = pair.type("run", "--on", "bee", "-c", "for n in range(100_000): print(n)")
    assert said.out.splitlines() == [str(n) for n in range(100_000)]
    (pair.folder / "talks.py").write_text("def task():\n    print('no end', end='')\n    return [1]")
    assert pair.type("run", "talks.py", "--function", "task").out == "no end\n[1]\n"


def test_who_is_not_read_waits_and_no_memory_fills(pair: Mesh) -> None:
    nodes = [psutil.Process(node.process.pid) for node in pair.nodes.values()]
    before_bytes = [node.memory_info().rss for node in nodes]
    with typed(pair, "-c", "while True: print('x' * 1000)") as process:
        assert process.stdout is not None
        process.stdout.read(64 << 20)
        for _ in range(3):
            pair.json("status", "--node", "bee")
        for node, before in zip(nodes, before_bytes, strict=True):
            assert node.memory_info().rss - before < FLOOD_MEMORY_BYTES
        process.stdout.close()
        assert process.wait(30) == 1
    while pair.json("status", "--node", "bee")["load"]["busy"]:
        pass


def test_a_script_is_talked_with(pair: Mesh) -> None:
    with typed(
        pair, "-c", "for line in open(0): print(line.upper(), end='', flush=True)", stdin=subprocess.PIPE
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for line in ("one\n", "two\n"):
            process.stdin.write(line)
            process.stdin.flush()
            assert process.stdout.readline() == line.upper()
        process.stdin.close()
        assert process.wait(30) == 0


def test_a_script_that_reads_nothing_leaves_the_rest_and_ends(pair: Mesh) -> None:
    with Path("/dev/zero").open("rb") as endless, typed(pair, "-c", "print('done')", stdin=endless) as process:
        assert process.stdout is not None
        assert process.stdout.read() == "done\n"
        assert process.wait(30) == 0


def test_who_pipes_something_to_a_job_that_lasts_is_told_that_it_is_not_read(pair: Mesh) -> None:
    """It would count no words, and say nothing."""
    (pair.folder / "words").write_text("words")
    with (pair.folder / "words").open() as words, typed(pair, "-c", "input()", "--detach", stdin=words) as process:
        assert process.stderr is not None
        assert "what is piped here is not read" in process.stderr.readline()


def chatters(number: int) -> int:
    for line in range(20):
        print(f"{number} says {line}")
    return number


def test_tasks_of_an_executor_are_heard_by_lines_unless_nobody_wants_to(
    pair: Mesh, capfd: pytest.CaptureFixture[str]
) -> None:
    with Executor(surroundings=pair.surroundings) as pool:
        assert list(pool.map(chatters, range(30), chunksize=1)) == list(range(30))
    lines = capfd.readouterr().out.splitlines()
    assert sorted(lines) == sorted(f"{number} says {line}" for number in range(30) for line in range(20))
    with Executor(surroundings=pair.surroundings, output=False) as pool:
        future = pool.submit(options(on="bee")(chatters), 7)
        assert future.result() == 7
        assert future.stdout.startswith("7 says 0\n")  # type: ignore[attr-defined]
    assert capfd.readouterr().out == ""


def test_files_go_along_and_come_home_by_verb_and_by_program(pair: Mesh) -> None:
    home = pair.folder / "home"
    home.mkdir()
    (home / "in.txt").write_text("seven")
    (home / "job.py").write_text(
        "import os\nopen(os.environ['WHO'] + '.txt', 'w').write(open('in.txt').read())\nopen('.hidden', 'w').close()"
    )
    options = ("--on", "bee", "--env", "WHO=me", "--input", "in.txt", "--output", "*")
    said = pair.type("run", *options, "job.py", cwd=home)
    assert (said.code, (home / "me.txt").read_text()) == (0, "seven"), said
    assert "brought home: me.txt" in said.err and not (home / ".hidden").exists()
    refused = pair.type("run", "--output", "/etc/*", "job.py", cwd=home)
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    (home / "program.py").write_text(
        "import potluck\n"
        "def task(n):\n"
        "    open(f'{n}.csv', 'w').write(open('in.txt').read())\n"
        "with potluck.Executor() as pool:\n"
        "    list(pool.map(potluck.options(inputs=['in.txt'], outputs=['*.csv'])(task), range(3)))\n"
    )
    subprocess.run([sys.executable, "program.py"], cwd=home, env=pair.environment, check=True, timeout=60)
    assert [(home / f"{n}.csv").read_text() for n in range(3)] == ["seven"] * 3
