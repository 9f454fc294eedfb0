"""Workers without a sandbox: for an owner's own tasks where nothing better works.

They get a clean environment, a folder of their own and no core files. Nothing keeps them from the user's files or from
the network, and a child that leaves its session and its ancestors before the sweep survives: `guarantees` says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from ...overlay.wire.capabilities import Guarantees
from .spawning import END_TIMEOUT_S, WORKER_MODULE, Spawned, SpawnedWorker, clean_environment, spawn

GUARANTEES: Final = Guarantees(time=True)
_SWEEP_INTERVAL_S: Final = 0.005
_SCRATCH_PREFIX: Final = "potluck-scratch-"
_YOUNG_S: Final = 10.0


class BareSandbox:
    backend = "bare"
    guarantees = GUARANTEES

    async def start(self) -> BareWorker:
        scratch = Scratch()
        try:
            env = {**clean_environment(scratch.path), "TMPDIR": scratch.path}
            worker = BareWorker(spawn(_command, env=env, cwd=scratch.path), scratch)
        except BaseException:  # cancellation too: nobody else knows of the folder yet
            scratch.remove()
            raise
        await worker.await_ready()
        return worker


class Scratch:
    """A worker's folder, locked for as long as this node lives: an unlocked one is nobody's."""

    def __init__(self) -> None:
        self.path = tempfile.mkdtemp(prefix=_SCRATCH_PREFIX)
        self._lock = os.open(self.path, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        os.close(self._lock)


def remove_abandoned_folders() -> None:
    """What nodes of this user that were killed have left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_SCRATCH_PREFIX}*"):
        try:
            lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        except OSError:
            continue
        try:
            # A folder this young may not have been locked yet.
            if folder.stat().st_uid == os.getuid() and _age_s(folder) > _YOUNG_S:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
        except OSError:
            pass  # it is in use, or gone meanwhile
        finally:
            os.close(lock)


def _age_s(folder: Path) -> float:
    with tempfile.TemporaryFile(dir=folder.parent) as now:
        return os.fstat(now.fileno()).st_mtime - folder.stat().st_mtime


def _command(descriptors: str) -> Sequence[str]:
    limits = (f"end_with={os.getpid()}", "core=0")
    return (sys.executable, "-P", "-m", WORKER_MODULE, descriptors, *limits)


class BareWorker(SpawnedWorker):
    def __init__(self, spawned: Spawned, scratch: Scratch) -> None:
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
        await trio.to_thread.run_sync(self._scratch.remove)


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
