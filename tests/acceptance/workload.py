"""Tasks of every kind: those that end well, and those that do not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import potluck


def quick(number: int) -> int:
    return number


def sleeper(number: int) -> int:
    time.sleep(0.02)
    return number


def stepwise(number: int) -> Iterator[list[int]]:
    done = potluck.checkpointed([])
    while len(done) < 4:
        done.append(len(done) + 1)
        yield done
        if (number + len(done)) % 5 == 0:
            os._exit(3)
    assert done == [1, 2, 3, 4]
    return number  # type: ignore[return-value]


def failing(number: int) -> None:
    raise ValueError(number)


def dying(number: int) -> None:
    os.kill(os.getpid(), 9 if number % 2 else 11)


def with_children(number: int) -> int:
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            if os.fork() == 0:
                time.sleep(600)
            os._exit(0)
    return number


def late(number: int) -> None:
    time.sleep(600)


def greedy(number: int) -> int:
    hoard = [b"x" * (1 << 20) for _ in range(300)]
    return len(hoard)


def noisy(number: int) -> None:
    while True:
        print("x" * 4096)


def parent(number: int) -> int:
    with potluck.Executor() as pool:
        return sum(pool.map(quick, range(number % 4)))


def writes_files(number: int) -> int:
    for name in range(5):
        Path(f"left-{number}-{name}").write_bytes(bytes(100_000))
    return number


LIMITED = {"timeout": 0.3, "retries": 1}
MIX: list[tuple[int, Callable[[int], Any], dict[str, Any]]] = [
    (30, quick, {}),
    (20, sleeper, {}),
    (12, stepwise, {}),
    (8, failing, {}),
    (4, dying, {"retries": 1}),
    (6, with_children, {}),
    (3, late, LIMITED),
    (2, greedy, {"limits": {"memory": 200 << 20}, "retries": 0}),
    (2, noisy, {"limits": {"output": 1 << 20}, "retries": 0}),
    (5, parent, {}),
    (8, writes_files, {}),
]
