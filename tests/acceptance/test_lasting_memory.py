"""What was acknowledged outlives machines, on real processes: killed, all at once, and started again."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from .harness import Pool, wait_until

pytestmark = pytest.mark.processes

NAMES = ("p1", "p2", "p3")
WRITER = """
import sys
import potluck
number = 0
while True:
    number += 1
    try:
        potluck.memory[f"{sys.argv[1]} {number % 7}"] = number
    except potluck.PotluckError:
        continue
    except Exception:
        break
    print(number, flush=True)
"""
READER = """
import json, sys
import potluck
print(json.dumps({key: potluck.memory[key] for key in json.loads(sys.stdin.readline())}))
potluck.memory.close()
"""


@contextmanager
def writers(nodes: Pool, names: tuple[str, ...]) -> Iterator[dict[str, int]]:
    """Programs that write for as long as their nodes live; yields the last number acknowledged for each key."""
    acknowledged: dict[str, int] = {}
    path = nodes.folder / "writer.py"
    path.write_text(WRITER)
    programs = [
        subprocess.Popen(
            [sys.executable, str(path), name],
            env={**nodes.environment, "POTLUCK_NODE": name},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for name in names
    ]

    def note(name: str, program: subprocess.Popen[str]) -> None:
        assert program.stdout
        for line in program.stdout:
            acknowledged[f"{name} {int(line) % 7}"] = int(line)

    threads = [threading.Thread(target=note, args=pair) for pair in zip(names, programs, strict=True)]
    for thread in threads:
        thread.start()
    try:
        yield acknowledged
    finally:
        for program in programs:
            program.kill()
        for program, thread in zip(programs, threads, strict=True):
            thread.join(20)
            program.wait(20)
            assert program.stdout
            program.stdout.close()


def read(nodes: Pool, name: str, keys: list[str]) -> dict[str, int]:
    path = nodes.folder / "reader.py"
    path.write_text(READER)
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**nodes.environment, "POTLUCK_NODE": name},
        input=json.dumps(keys) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    answer: dict[str, int] = json.loads(done.stdout)
    return answer


def all_die_writing(nodes: Pool, enough: int) -> dict[str, int]:
    """What was acknowledged when they did."""
    with writers(nodes, NAMES) as acknowledged:
        wait_until(lambda: sum(acknowledged.values()) > enough, "programs write")
        for name in NAMES:
            nodes.nodes[name].process.kill()
        for name in NAMES:
            nodes.nodes[name].kill()
    assert acknowledged
    return dict(acknowledged)


def assert_nothing_is_lost(nodes: Pool, names: tuple[str, ...], acknowledged: dict[str, int]) -> None:
    for name in names:
        found = read(nodes, name, sorted(acknowledged))
        assert all(found[key] >= number for key, number in acknowledged.items()), (name, found, acknowledged)


def test_all_nodes_killed_while_they_write_lose_nothing_when_all_or_most_are_back(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    acknowledged = all_die_writing(nodes, 100)
    nodes.up_together(*NAMES)
    assert_nothing_is_lost(nodes, NAMES, acknowledged)
    acknowledged = all_die_writing(nodes, 100 + sum(acknowledged.values()))
    nodes.up_together(*NAMES[:2])
    assert_nothing_is_lost(nodes, NAMES[:2], acknowledged)


def test_a_disk_that_is_lost_for_good_takes_nothing_along(nodes: Pool) -> None:
    nodes.up_together(*NAMES)
    with writers(nodes, NAMES[:1]) as acknowledged:
        wait_until(lambda: sum(acknowledged.values()) > 20, "a program writes")
    nodes.nodes["p1"].kill()
    (folder,) = (nodes.data_dir / "nodes").glob("*p1")
    shutil.rmtree(folder)
    nodes.up("p1").await_ready()
    wait_until(lambda: len(nodes.call("peers", "--json", node="p1").value) >= 3, "p1 is back")
    assert_nothing_is_lost(nodes, NAMES, dict(acknowledged))


def one_run(nodes: Pool, seed: int) -> None:
    """Two of three are killed while all write; the third's answers do not matter, what was acknowledged does."""
    draws = random.Random(seed)
    with writers(nodes, NAMES) as acknowledged:
        wait_until(lambda: sum(acknowledged.values()) > 50, "programs write")
        threading.Event().wait(draws.uniform(0, 0.3))
        victims = draws.sample(NAMES, 2)
        for name in victims:
            nodes.nodes[name].process.kill()
    for name in victims:
        nodes.nodes[name].kill()
    for name in victims:
        nodes.up(name)
    for name in victims:
        nodes.nodes[name].await_ready()
    nodes.await_members(*NAMES)
    assert_nothing_is_lost(nodes, NAMES, dict(acknowledged))


@pytest.mark.parametrize("seed", [1, 2])
def test_two_of_three_killed_at_once_lose_nothing(nodes: Pool, seed: int) -> None:
    nodes.up_together(*NAMES)
    one_run(nodes, seed)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("seed", range(100, 130))
def test_two_of_three_killed_at_once_lose_nothing_thirty_times(nodes: Pool, seed: int) -> None:
    nodes.up_together(*NAMES)
    one_run(nodes, seed)
