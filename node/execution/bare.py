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
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from ...overlay.errors import LinkLost
from ...overlay.wire.capabilities import Guarantees
from .spawning import END_TIMEOUT_S, WORKER_MODULE, Spawned, SpawnedWorker, clean_environment, spawn

GUARANTEES: Final = Guarantees(time=True)
_SWEEP_INTERVAL_S: Final = 0.005
_SCRATCH_PREFIX: Final = "potluck-scratch-"
_YOUNG_S: Final = 10.0


class BareSandbox:
    backend = "bare"
    takes_parcels = True
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

    async def stop(self) -> None:
        """Until a look around finds nobody who still runs: whoever is forked meanwhile is found by the next."""
        stopped: set[int] = set()
        with trio.move_on_after(END_TIMEOUT_S):
            while running := [pid for pid in self._tree() if pid not in stopped or _is_running(pid)]:
                _signal_all(running, signal.SIGSTOP)
                stopped.update(running)
                await trio.sleep(_SWEEP_INTERVAL_S)
        self._check_lives()

    async def resume(self) -> None:
        await trio.lowlevel.checkpoint()
        _signal_all(self._tree(), signal.SIGCONT)
        self._check_lives()

    def _tree(self) -> set[int]:
        return {self.pid, *_family(self.pid)} if _is_alive(self.pid) else set()

    def _check_lives(self) -> None:
        if not _is_alive(self.pid):
            raise LinkLost("the worker has gone")

    async def _end_all(self) -> None:
        victims = _family(self.pid)
        self._signal_outer(signal.SIGKILL)
        with trio.move_on_after(END_TIMEOUT_S):
            while victims := {pid for pid in victims | _family(self.pid) if _is_alive(pid)}:
                _signal_all(victims, signal.SIGKILL)
                await trio.sleep(_SWEEP_INTERVAL_S)
        await trio.to_thread.run_sync(self._scratch.remove)


def _family(root: int) -> set[int]:
    """What descends from it or is of its session, in one look. Taken before the root is killed: afterwards nothing
    tells whose children the others were."""
    children: dict[int, list[int]] = {}
    found = set()
    for pid in _all_pids():
        _state, parent, session = _stat(pid)
        children.setdefault(parent, []).append(pid)
        if session == root and pid != root:
            found.add(pid)
    pending = [root, *found]
    while pending:
        new = [pid for pid in children.get(pending.pop(), []) if pid not in found]
        found.update(new)
        pending += new
    return found


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _is_running(pid: int) -> bool:
    return _stat(pid)[0] not in ("T", "t", "", "Z", "X")


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
