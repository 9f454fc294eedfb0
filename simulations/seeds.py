"""Many seeds of one scenario, on all cores: each in a process of its own kind, which takes one seed after another.

Processes are spawned, so that none inherits what another seed has left behind; they die with whoever asked.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Any, Final

import msgspec

from .run import Settings, checked, replay, run_scenario

WALL_S_MAX: Final = 1800.0
"""A seed that takes longer on its core hangs, or might as well."""

Answer = dict[str, Any]


class _Worker:
    """One process and the seed it works on."""

    def __init__(self, name: str, settings: Settings) -> None:
        self._name = name
        self._settings = settings
        context = multiprocessing.get_context("spawn")
        self.connection, far = context.Pipe()
        self._process = context.Process(target=_work, args=(name, far), daemon=True)
        self._process.start()
        far.close()
        self.seed = 0
        self.began_s = 0.0

    def give(self, seed: int) -> None:
        self.seed, self.began_s = seed, time.monotonic()
        self.connection.send(msgspec.structs.replace(self._settings, seed=seed))

    def answer(self) -> Answer:
        """What it says, or that it says nothing."""
        try:
            answer: Answer = self.connection.recv()
        except (EOFError, OSError):
            return self.failed("its process died")
        return answer

    def failed(self, detail: str) -> Answer:
        return _failed(self._name, msgspec.structs.replace(self._settings, seed=self.seed), detail)

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self.connection.close()


def run_seeds(name: str, settings: Settings, seeds: Sequence[int], tell: Callable[[Answer], None]) -> dict[str, object]:
    """Calls `tell` with the answer of every seed that did not hold; returns the sum of all. Raises UsageError."""
    checked(name, settings)
    began_s = time.monotonic()
    failed, virtual_s = 0, 0.0
    for answer in _answers(name, settings, seeds):
        virtual_s += answer["virtual_s"]
        if not answer["held"]:
            failed += 1
            tell(answer)
    return {
        "seeds": len(seeds),
        "failed": failed,
        "virtual_hours": round(virtual_s / 3600, 3),
        "wall_s": round(time.monotonic() - began_s, 3),
    }


def _answers(name: str, settings: Settings, seeds: Sequence[int]) -> Iterator[Answer]:
    """As they come."""
    left = list(reversed(seeds))
    workers: list[_Worker] = []
    try:
        for _ in range(min(len(left), len(os.sched_getaffinity(0)))):
            workers.append(_Worker(name, settings))
            workers[-1].give(left.pop())
        while workers:
            ready = wait([worker.connection for worker in workers], _rest_s(workers))
            for worker in [one for one in workers if one.connection in ready or _rest_s([one]) == 0]:
                in_time = worker.connection in ready
                yield worker.answer() if in_time else worker.failed(f"did not end within {WALL_S_MAX:g} s")
                _go_on(workers, worker, left, lives=in_time)
    finally:
        for worker in workers:
            worker.end()


def _go_on(workers: list[_Worker], worker: _Worker, left: list[int], *, lives: bool) -> None:
    if lives and left:
        worker.give(left.pop())
        return
    worker.end()
    workers.remove(worker)


def _rest_s(workers: list[_Worker]) -> float:
    return max(0.0, min(worker.began_s for worker in workers) + WALL_S_MAX - time.monotonic())


def _work(name: str, connection: Connection) -> None:
    """The process: until nobody gives it seeds any more. Ctrl+C is its parent's affair."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.getLogger("potluck").addHandler(logging.NullHandler())
    while True:
        try:
            settings: Settings = connection.recv()
            connection.send(_answer(name, settings))
        except (EOFError, OSError):
            return


def _end_with_parent() -> None:
    """However it ended: nobody waits for this seed any more."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _answer(name: str, settings: Settings) -> Answer:
    try:
        return run_scenario(name, **msgspec.structs.asdict(settings))
    except Exception:  # noqa: BLE001 - a scenario that breaks is a seed that failed, and the others go on
        return _failed(name, settings, traceback.format_exc())


def _failed(name: str, settings: Settings, detail: str) -> Answer:
    settings = checked(name, settings)
    return {
        "scenario": name,
        "nodes": settings.nodes,
        "seed": settings.seed,
        "held": False,
        "checks": [{"name": "the scenario ends", "held": False, "detail": detail}],
        "figures": {},
        "virtual_s": 0.0,
        "wall_s": 0.0,
        "event_log_sha256": "",
        "replay": replay(name, settings),
    }
