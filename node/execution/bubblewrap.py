"""Workers inside bubblewrap: no network, a read-only system without homes, own scratch, own processes.

What a task sees: /usr and its links, the few files of /etc that the dynamic linker needs, the running Python with its
packages, and potluck's own modules; /scratch (its working folder and home), /tmp and /dev/shm, each of a stated size,
in memory, and gone with it. Process 1 of the namespace is our `supervisor`; when it is killed, the kernel kills all
others.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import site
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
import trio

from ...overlay.errors import LinkLost, RemoteProtocolError, SandboxUnavailable
from ...overlay.ports import Gpu
from ...overlay.transport.sockets import SocketStream
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.limits import Limits, Usage
from ..resources.gpus import devices_of
from .cgroups import Group, Hierarchy, make_group
from .seccomp import filter_here
from .spawning import END_TIMEOUT_S, Spawned, SpawnedWorker, clean_environment, spawn
from .supervisor import BEGIN, CONTINUE, STOP
from .visible import ETC, SYSTEM, python_paths

TRIAL_TIMEOUT_S: Final = 10.0
SUPERVISOR_MODULE: Final = "potluck.node.execution.supervisor"
_SCRATCH: Final = "/scratch"
_WRITABLE: Final = (_SCRATCH, "/tmp", "/dev/shm")  # noqa: S108 (inside)
_CHILD_PID: Final = re.compile(rb'"child-pid": ([0-9]+)')
_PROC_SHOWN: Final = frozenset(
    [
        "cmdline",
        "cpuinfo",
        "crypto",
        "devices",
        "diskstats",
        "filesystems",
        "loadavg",
        "meminfo",
        "misc",
        "mounts",
        "net",
        "partitions",
        "self",
        "stat",
        "swaps",
        "sysvipc",
        "thread-self",
        "uptime",
        "version",
        "vmstat",
    ]
)
"""What programs look for beside the folders of processes. The rest is the machine's: to its root, which a node may run
as, much of it can be read and some written without any capability."""

# Says whether the limit on processes holds here: it does not for root.
_TRIAL: Final = """
import os, resource
resource.setrlimit(resource.RLIMIT_NPROC, (1, 1))
try:
    child = os.fork()
except BlockingIOError:
    print("processes")
else:
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
"""


@dataclass(frozen=True)
class Sizes:
    """All in memory, and only as far as they are used."""

    scratch_bytes: int = 1 << 30
    tmp_bytes: int = 256 << 20
    shared_memory_bytes: int = 256 << 20
    processes: int = 512
    files: int = 4096


class BubblewrapSandbox:
    """Made by `find`, which proves that it works here."""

    backend = "bubblewrap"
    takes_parcels = True

    def __init__(
        self,
        program: str,
        options: Sequence[str],
        sizes: Sizes,
        groups: Hierarchy | None,
        *,
        limits_processes: bool = False,
    ) -> None:
        self._groups = groups
        counted = groups.guarantees if groups is not None else {}
        self._filter = filter_here(counted=groups is not None)
        self._program = program
        self._options = tuple(options)
        self._sizes = sizes
        self.guarantees = Guarantees(
            network=True,
            filesystem=True,
            environment=True,
            memory=True,
            cpu=counted.get("cpu", False),
            processes=limits_processes or counted.get("processes", False),
            disk=True,
            time=True,
            kill_all=True,
        )

    @classmethod
    def find(cls, sizes: Sizes | None = None, groups: Hierarchy | None = None) -> BubblewrapSandbox:
        """Blocks for a trial run, about 50 ms. Raises SandboxUnavailable with the reason."""
        program = shutil.which("bwrap")
        if program is None:
            raise SandboxUnavailable("bubblewrap is not installed (the program `bwrap` is not found)")
        reason = ""
        # Forbidding further user namespaces is newer than the rest; without it the sandbox still holds.
        for options in (("--disable-userns",), ()):
            sandbox = cls(program, options, sizes or Sizes(), groups)
            try:
                said = sandbox._try()
            except SandboxUnavailable as error:
                reason = reason or str(error)
                continue
            return cls(program, options, sandbox._sizes, groups, limits_processes="processes" in said)
        raise SandboxUnavailable(reason)

    def _try(self) -> str:
        try:
            with ExitStack() as theirs:
                filters = self._filter_pipe(theirs)
                trial = subprocess.run(
                    [*self._line(filters), "--", sys.executable, "-I", "-S", "-c", _TRIAL],
                    capture_output=True,
                    text=True,
                    timeout=TRIAL_TIMEOUT_S,
                    env={},
                    stdin=subprocess.DEVNULL,
                    pass_fds=filters,
                )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise SandboxUnavailable(f"bubblewrap does not work here: {error}") from error
        if trial.returncode:
            raise SandboxUnavailable(f"bubblewrap does not work here: {trial.stderr.strip()[-300:]}")
        return trial.stdout

    async def start(self, gpus: Sequence[Gpu] = ()) -> BubblewrapWorker:
        with ExitStack() as theirs, ExitStack() as ours:
            told, tells = os.pipe()
            ours.callback(os.close, told)
            theirs.callback(os.close, tells)
            os.set_blocking(told, False)
            orders, obeys = socket.socketpair()
            ours.callback(orders.close)
            theirs.callback(obeys.close)
            group = make_group(self._groups)
            if group is not None:
                group.limit(Limits(processes=self._sizes.processes))
                ours.callback(group.remove)
            keep = (tells, obeys.fileno(), *self._filter_pipe(theirs))
            spawned = spawn(lambda descriptors: self._command(gpus, descriptors, *keep), env={}, keep=keep)
            ours.pop_all()
        worker = BubblewrapWorker(spawned, self.guarantees, group, told, orders)
        await worker.await_ready()
        return worker

    def _filter_pipe(self, theirs: ExitStack) -> tuple[int, ...]:
        """Holds the filter of system calls, where there is one: bubblewrap sets it last of all."""
        if not self._filter:
            return ()
        read, write = os.pipe()
        theirs.callback(os.close, read)
        os.write(write, self._filter)  # less than any pipe holds
        os.close(write)
        return (read,)

    def _command(self, gpus: Sequence[Gpu], descriptors: str, tells: int, obeys: int, *filters: int) -> Sequence[str]:
        sizes = self._sizes
        limits = (
            "core=0",
            f"files={sizes.files}",
            f"processes={sizes.processes}",
            # Nothing in here could be larger anyway.
            f"file_bytes={sizes.scratch_bytes}",
        )
        supervisor = (sys.executable, "-P", "-m", SUPERVISOR_MODULE, str(obeys), descriptors, *limits)
        return (*self._line(filters, gpus), "--as-pid-1", "--info-fd", str(tells), "--", *supervisor)

    def _line(self, filters: Sequence[int] = (), gpus: Sequence[Gpu] = ()) -> Iterator[str]:
        sizes = self._sizes
        yield self._program
        for descriptor in filters:
            yield from ("--seccomp", str(descriptor))
        yield from ("--unshare-all", "--unshare-user", *self._options, "--die-with-parent", "--new-session")
        yield "--clearenv"
        for name, value in _environment(gpus).items():
            yield from ("--setenv", name, value)
        yield from _system()
        yield from _processes()
        yield from ("--dev", "/dev")
        for path in devices_of(gpus):
            yield from ("--dev-bind-try", path, path)
        yield from ("--size", str(sizes.shared_memory_bytes), "--tmpfs", "/dev/shm")  # noqa: S108
        yield from ("--size", str(sizes.tmp_bytes), "--tmpfs", "/tmp")  # noqa: S108
        yield from ("--size", str(sizes.scratch_bytes), "--tmpfs", _SCRATCH)
        # After the empty folders, for the Python may live below /tmp.
        for path in python_paths():
            yield from ("--ro-bind", path, path)
        yield from ("--remount-ro", "/", "--remount-ro", "/dev", "--cap-drop", "ALL", "--chdir", _SCRATCH)


def _environment(gpus: Sequence[Gpu]) -> dict[str, str]:
    env = clean_environment(_SCRATCH, gpus)
    if site.ENABLE_USER_SITE:
        env["PYTHONUSERBASE"] = site.getuserbase()
    return env


def _system() -> Iterator[str]:
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in ETC:
        yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")


def _processes() -> Iterator[str]:
    yield from ("--proc", "/proc", "--ro-bind", "/proc/sys", "/proc/sys")
    for path in sorted(Path("/proc").iterdir()):
        if path.name.isdecimal() or path.name in _PROC_SHOWN or path.name == "sys":
            continue
        if path.is_dir():
            yield from ("--tmpfs", str(path), "--remount-ro", str(path))
        else:
            yield from ("--ro-bind", "/dev/null", str(path))


def end_abandoned_sandboxes() -> None:
    """Of nodes that were killed while bubblewrap was still setting up: its `--die-with-parent` holds only later."""
    if os.getpid() == 1:
        return  # in a container of its own, a node is everybody's parent
    for process in psutil.process_iter(["ppid", "uids", "cmdline"]):
        known = process.info
        if known["ppid"] != 1 or known["uids"] is None or known["uids"].real != os.getuid():
            continue
        line = known["cmdline"] or []
        if line and Path(line[0]).name == "bwrap" and SUPERVISOR_MODULE in line:
            with suppress(psutil.NoSuchProcess):
                process.kill()


def _statistics(folder: str) -> os.statvfs_result | None:
    try:
        return os.statvfs(folder)
    except OSError:
        return None


class BubblewrapWorker(SpawnedWorker):
    def __init__(
        self, spawned: Spawned, guarantees: Guarantees, group: Group | None, told: int, orders: socket.socket
    ) -> None:
        super().__init__(spawned, guarantees, group)
        self._told = told
        self._orders = SocketStream(orders, "the worker has gone")
        self._ordering = trio.Lock()
        self._first: int | None = None
        """A handle on process 1 of the namespace; when that has ended, the kernel has ended all others."""
        self._first_pid = 0

    async def stop(self) -> None:
        await self._order(STOP)

    async def resume(self) -> None:
        await self._order(CONTINUE)

    async def _order(self, order: bytes) -> None:
        """Returns when the supervisor has carried it out. Raises LinkLost."""
        async with self._ordering:
            with trio.CancelScope(shield=True):  # an answer that nobody waits for would be the next one's
                await self._orders.send_all(order)
                if not await self._orders.receive_some():
                    raise LinkLost("the worker has gone")

    async def _receive_ready(self) -> None:
        await trio.lowlevel.wait_readable(self._told)
        self._first = self._first_process()
        if self._first is None:
            raise RemoteProtocolError(await self.wait())
        await self._enter_group(self._first_pid)
        await self._order(BEGIN)
        await super()._receive_ready()

    def _first_process(self) -> int | None:
        """bubblewrap tells its number as soon as there is one, in a first part of what is JSON in the end."""
        try:
            told = _CHILD_PID.search(os.read(self._told, 4096))
            self._first_pid = int(told[1]) if told else 0
            return os.pidfd_open(self._first_pid) if told else None
        except OSError:
            return None

    def usage(self) -> Usage:
        """What lies in the folders in memory counts as memory, also where no control group counts it."""
        usage = super().usage()
        folders = [_statistics(f"/proc/{self._first_pid}/root{folder}") for folder in _WRITABLE]
        disk_bytes = sum((one.f_blocks - one.f_bfree) * one.f_frsize for one in folders if one)
        return replace(
            usage,
            disk_bytes=disk_bytes,
            disk_full=any(one is not None and not one.f_bfree for one in folders),
            memory_bytes=usage.memory_bytes + (0 if self._group is not None else disk_bytes),
        )

    async def _end_all(self) -> None:
        if self._first is None:
            # Killed before it has told whom it started, bubblewrap would leave that process behind.
            with trio.move_on_after(END_TIMEOUT_S):
                await trio.lowlevel.wait_readable(self._told)
            self._first = self._first_process()
        if self._first is not None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            with trio.move_on_after(END_TIMEOUT_S):
                await self.wait()
        self._signal_outer(signal.SIGKILL)
        if self._first is not None:
            with trio.move_on_after(END_TIMEOUT_S):
                await trio.lowlevel.wait_readable(self._first)

    def _close(self) -> None:
        super()._close()
        self._orders.close()
        os.close(self._told)
        if self._first is not None:
            os.close(self._first)
