"""Workers without a sandbox: for an owner's own tasks where nothing better works.

They get a clean environment, a folder of their own and no core files. Nothing keeps them from the user's files or from
the network, and a child that leaves its session and its ancestors before the sweep survives: `guarantees` says so.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import trio

from ...overlay.wire.capabilities import Guarantees
from .spawning import END_TIMEOUT_S, WORKER_MODULE, Spawned, SpawnedWorker, clean_environment, spawn

GUARANTEES: Final = Guarantees(time=True)
_SWEEP_INTERVAL_S: Final = 0.005


class BareSandbox:
    backend = "bare"
    guarantees = GUARANTEES

    async def start(self) -> BareWorker:
        scratch = tempfile.mkdtemp(prefix="potluck-")
        try:
            env = {**clean_environment(scratch), "TMPDIR": scratch}
            worker = BareWorker(spawn(_command, env=env, cwd=scratch), scratch)
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise
        await worker.await_ready()
        return worker


def _command(descriptor: int) -> Sequence[str]:
    limits = (f"end_with={os.getpid()}", "core=0")
    return (sys.executable, "-P", "-m", WORKER_MODULE, str(descriptor), *limits)


class BareWorker(SpawnedWorker):
    def __init__(self, spawned: Spawned, scratch: str) -> None:
        super().__init__(spawned, GUARANTEES)
        self._scratch = scratch

    async def _end_all(self) -> None:
        victims = _descendants(self.pid)
        self._signal_outer(signal.SIGKILL)
        with trio.move_on_after(END_TIMEOUT_S):
            while victims := [pid for pid in {*victims, *_session(self.pid)} if _is_alive(pid)]:
                for pid in victims:
                    with suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL)
                await trio.sleep(_SWEEP_INTERVAL_S)
        await trio.to_thread.run_sync(lambda: shutil.rmtree(self._scratch, ignore_errors=True))


def _descendants(root: int) -> list[int]:
    """Taken before the root is killed: afterwards nothing tells whose children they were."""
    parents: dict[int, list[int]] = {}
    for pid in _all_pids():
        parents.setdefault(_stat(pid)[1], []).append(pid)
    found, pending = [], [root]
    while pending:
        children = parents.get(pending.pop(), [])
        found += children
        pending += children
    return found


def _session(leader: int) -> list[int]:
    return [pid for pid in _all_pids() if pid != leader and _stat(pid)[2] == leader]


def _is_alive(pid: int) -> bool:
    return _stat(pid)[0] not in ("", "Z", "X")


def _all_pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal()]  # noqa: PTH208 (numbers, not paths)


def _stat(pid: int) -> tuple[str, int, int]:
    """State, parent and session; an empty state if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:  # noqa: PTH123 (hot)
            fields = file.read().rpartition(")")[2].split()
    except OSError:
        return "", 0, 0
    return fields[0], int(fields[1]), int(fields[3])
