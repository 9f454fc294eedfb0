"""Workers without a sandbox: for an owner's own tasks where nothing better works.

They get a clean environment, a folder of their own and no core files. Nothing keeps them from the user's files or from
the network, and where no control group may be made, a child that leaves its session and its ancestors before the sweep
survives: `guarantees` says so.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import trio

from ...overlay.errors import LinkLost
from ...overlay.ports import NO_ACCESS, Access, Gpu
from ...overlay.threads import beside
from ...overlay.wire.capabilities import Guarantees
from .cgroups import Group, Hierarchy, make_group
from .pipes import END_TIMEOUT_S, PipedWorker
from .spawning import WORKER_MODULE, Spawned, clean_environment, spawn, starting
from .trees import entry_of, family_of

_SWEEP_INTERVAL_S: Final = 0.005
_SCRATCH_PREFIX: Final = "potluck-scratch-"
_YOUNG_S: Final = 10.0


class BareSandbox:
    backend = "bare"
    takes_parcels = True
    opens_network = True

    def __init__(self, groups: Hierarchy | None = None) -> None:
        self._groups = groups
        # Whoever is in a control group is found in it, wherever it has gone.
        counted = {"memory": True, "kill_all": True, **groups.guarantees} if groups is not None else {}
        self.guarantees = Guarantees(time=True, **counted)

    async def start(self, access: Access = NO_ACCESS) -> BareWorker:
        worker = self._spawn(access)
        await worker.await_ready()
        return worker

    def _spawn(self, access: Access) -> BareWorker:
        with starting(), ExitStack() as ours:
            scratch = Scratch()
            ours.callback(scratch.remove)
            group = make_group(self._groups)
            if group is not None:
                ours.callback(group.remove)
            env = {**clean_environment(scratch.path, access.gpus), "TMPDIR": scratch.path}
            spawned = spawn(lambda pipes: self._command(pipes, scratch.path, access.gpus), env=env, cwd=scratch.path)
            ours.pop_all()
        return BareWorker(spawned, self.guarantees, scratch, group)

    def _command(self, descriptors: str, scratch: str, _gpus: Sequence[Gpu]) -> Sequence[str]:
        limits = (f"end_with={os.getpid()}", "core=0")
        return (sys.executable, "-P", "-m", WORKER_MODULE, descriptors, *limits)


class Scratch:
    """A worker's folder, locked for as long as this node lives: an unlocked one is nobody's."""

    def __init__(self) -> None:
        """Raises OSError, and nothing is left."""
        self.path = tempfile.mkdtemp(prefix=_SCRATCH_PREFIX)
        try:
            self._lock = os.open(self.path, os.O_RDONLY)
        except OSError:
            Path(self.path).rmdir()
            raise
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def remove(self) -> None:
        os.close(self._lock)
        try:
            Path(self.path).rmdir()
        except OSError:  # to look into it takes descriptors
            shutil.rmtree(self.path, ignore_errors=True)


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


class BareWorker(PipedWorker):
    def __init__(self, spawned: Spawned, guarantees: Guarantees, scratch: Scratch, group: Group | None) -> None:
        super().__init__(spawned.pipes, guarantees, group)
        self._child = spawned.child
        self._scratch = scratch

    @property
    def pid(self) -> int:
        return self._child.pid

    async def wait(self) -> str:
        return await self._child.wait()

    async def _receive_ready(self) -> None:
        await self._enter_group(self.pid)
        await super()._receive_ready()

    async def stop(self) -> None:
        """Until a look around finds nobody who still runs: whoever is forked meanwhile is found by the next."""
        self._check_lives()
        self._child.signal(signal.SIGSTOP)
        stopped: set[int] = set()
        with trio.move_on_after(END_TIMEOUT_S):
            while running := [pid for pid in self._tree() if pid not in stopped or entry_of(pid).is_running]:
                _signal_all(running, signal.SIGSTOP)
                stopped.update(running)
                await trio.sleep(_SWEEP_INTERVAL_S)
        self._check_lives()

    async def resume(self) -> None:
        await trio.lowlevel.checkpoint()
        _signal_all(self._tree(), signal.SIGCONT)
        self._check_lives()

    def _tree(self) -> set[int]:
        return {self.pid, *self._all()} if entry_of(self.pid).is_alive else set()

    def _check_lives(self) -> None:
        if self._closed or not entry_of(self.pid).is_alive:
            raise LinkLost("the worker has gone")

    def _all(self) -> set[int]:
        return family_of(self.pid) | (self._group.members() if self._group is not None else set())

    async def _end_all(self) -> None:
        victims = self._all()
        self._child.signal(signal.SIGKILL)
        with trio.move_on_after(END_TIMEOUT_S):
            while victims := {pid for pid in victims | self._all() if entry_of(pid).is_alive}:
                _signal_all(victims, signal.SIGKILL)
                await trio.sleep(_SWEEP_INTERVAL_S)
        await beside(self._scratch.remove)

    def _close(self) -> None:
        super()._close()
        self._child.close()


def _signal_all(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)
