"""Semaphores without /dev/shm: they do what those of the interpreter do."""

from __future__ import annotations

import _multiprocessing
import os
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st
from potluck.node.inside.semaphores import PipeSemaphore

RECURSIVE_MUTEX, SEMAPHORE = 0, 1
numbers = iter(range(1_000_000))


def both(kind: int, value: int, most: int) -> tuple[PipeSemaphore, _multiprocessing.SemLock]:
    name = f"/potluck-{os.getpid()}-{next(numbers)}"
    return PipeSemaphore(kind, value, most, name, True), _multiprocessing.SemLock(kind, value, most, name, True)


def seen(semaphore: PipeSemaphore | _multiprocessing.SemLock) -> tuple[object, ...]:
    return semaphore._count(), semaphore._is_mine(), semaphore._get_value(), semaphore._is_zero()


def outcome(semaphore: PipeSemaphore | _multiprocessing.SemLock, step: str) -> object:
    try:
        if step == "release":
            return semaphore.release()
        return semaphore.acquire(*((True, 0.001) if step == "wait" else (False,)))
    except (AssertionError, ValueError) as error:
        return type(error), str(error)


@given(
    st.sampled_from([(RECURSIVE_MUTEX, 1, 1), (SEMAPHORE, 1, 1), (SEMAPHORE, 0, 3), (SEMAPHORE, 3, 5)]),
    st.lists(st.sampled_from(["acquire", "release", "wait"]), max_size=20),
)
def test_they_do_what_the_interpreters_do(kind: tuple[int, int, int], steps: list[str]) -> None:
    ours, theirs = both(*kind)
    for step in steps:
        assert outcome(ours, step) == outcome(theirs, step)
        assert seen(ours) == seen(theirs)


def test_one_that_is_full_from_the_beginning_can_be() -> None:
    most = PipeSemaphore.SEM_VALUE_MAX
    semaphore = PipeSemaphore(SEMAPHORE, most, most, "", True)
    assert semaphore._get_value() == most
    for _ in range(5_000):
        assert semaphore.acquire(False)
        semaphore.release()
    with pytest.raises(OSError, match="Invalid"):
        PipeSemaphore(SEMAPHORE, most + 1, most + 1, "", True)


def test_whoever_waits_is_woken_and_a_recursive_one_is_a_threads_own() -> None:
    lock = PipeSemaphore(RECURSIVE_MUTEX, 1, 1, "", True)
    said: list[object] = []
    tried = threading.Event()

    def other() -> None:
        said.append(lock.acquire(False))
        tried.set()
        with lock:
            said.append("woken")

    with lock, lock:
        thread = threading.Thread(target=other)
        thread.start()
        assert tried.wait(20)
        assert said == [False]
    thread.join(20)
    assert said == [False, "woken"]
