"""What programs take for granted of one machine: pools of processes, semaphores, shared memory, queues."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from potluck.node.inside.confinement import LANDLOCK_MIN, landlock_version
from potluck.node.sandboxes.confined import ConfinedSandbox
from potluck.overlay.ports import Sandbox

from .test_docker import docker_or_skip
from .test_sandboxes import bubblewrap_or_skip, run

POOLS = """
import concurrent.futures, multiprocessing, os
from multiprocessing.shared_memory import SharedMemory

def tripled(connection, value):
    with value.get_lock():
        value.value *= 3
    connection.send(os.getpid())

def counts(value):
    for _ in range(200):
        with value.get_lock():
            value.value += 1

def task():
    fork = multiprocessing.get_context("fork")
    with fork.Pool(2) as pool:
        squares = pool.starmap(pow, [(n, 2) for n in range(5)])
    with concurrent.futures.ProcessPoolExecutor(2, mp_context=fork) as pool:
        lengths = list(pool.map(len, ["a", "bc"]))
    value, (ours, theirs) = fork.Value("i", 7), fork.Pipe()
    child = fork.Process(target=tripled, args=(theirs, value))
    child.start()
    other = ours.recv() != os.getpid()
    child.join()
    counter = fork.Value("i", 0)
    counting = [fork.Process(target=counts, args=(counter,)) for _ in range(3)]
    [one.start() for one in counting]
    [one.join() for one in counting]
    queue = fork.Queue()
    queue.put("said")
    said = queue.get(timeout=10)
    shared = SharedMemory(create=True, size=100)
    seen = SharedMemory(shared.name)
    shared.buf[0] = 7
    found = seen.buf[0]
    seen.close()
    shared.close()
    shared.unlink()
    return [squares, lengths, value.value, counter.value, other, said, found]
"""
EXPECTED = [[0, 1, 4, 9, 16], [1, 2], 21, 600, True, "said", 7]


def confined_or_skip() -> Sandbox:
    if landlock_version() < LANDLOCK_MIN:
        pytest.skip("this kernel's Landlock is too old")
    return ConfinedSandbox.find()


@pytest.mark.parametrize("make", [bubblewrap_or_skip, docker_or_skip, confined_or_skip])
def test_pools_locks_queues_and_shared_memory_work(make: Callable[[], Sandbox]) -> None:
    assert run(make(), POOLS) == EXPECTED
