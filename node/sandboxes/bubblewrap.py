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
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Final

import msgspec
import psutil
import trio

from ...overlay.errors import RemoteProtocolError, SandboxUnavailable
from ...overlay.ports import NO_ACCESS, Access, Gpu
from ...overlay.threads import beside
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.limits import Limits
from ..inside.seccomp import filter_here
from ..resources.gpus import devices_of
from .cgroups import Group, Hierarchy, make_group
from .pipes import END_TIMEOUT_S
from .spawning import Spawned, clean_environment, spawn, starting
from .supervised import SCRATCH, Sizes, SupervisedWorker
from .visible import ETC, ETC_OF_NETWORK, SYSTEM, hidden_in_proc, python_paths, python_program

TRIAL_TIMEOUT_S: Final = 10.0
SUPERVISOR_MODULE: Final = "potluck.node.inside.supervisor"
_CHILD_PID: Final = re.compile(rb'"child-pid": ([0-9]+)')
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


class BubblewrapSandbox:
    """Made by `find`, which proves that it works here."""

    backend = "bubblewrap"
    takes_parcels = True
    opens_network = True

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
        self._begun: BubblewrapWorker | None = None
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
                    [*self._line(filters), "--", python_program(), "-I", "-S", "-c", _TRIAL],
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

    def begin(self) -> None:
        """Starts a worker that nobody waits for yet; the first `start` without further access gets it. Raises
        SandboxUnavailable."""
        self._begun = self._spawn(NO_ACCESS)

    async def start(self, access: Access = NO_ACCESS) -> BubblewrapWorker:
        if self._begun is not None and access == NO_ACCESS:
            worker, self._begun = self._begun, None
        else:
            worker = self._spawn(access)
        await worker.await_ready()
        return worker

    def _spawn(self, access: Access) -> BubblewrapWorker:
        with starting(), ExitStack() as theirs, ExitStack() as ours:
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
            spawned = spawn(lambda descriptors: self._command(access, descriptors, *keep), env={}, keep=keep)
            ours.pop_all()
        guarantees = msgspec.structs.replace(self.guarantees, network=not access.network)
        return BubblewrapWorker(spawned, guarantees, group, told, orders)

    def _filter_pipe(self, theirs: ExitStack) -> tuple[int, ...]:
        """Holds the filter of system calls, where there is one: bubblewrap sets it last of all."""
        if not self._filter:
            return ()
        read, write = os.pipe()
        theirs.callback(os.close, read)
        os.write(write, self._filter)  # less than any pipe holds
        os.close(write)
        return (read,)

    def _command(self, access: Access, descriptors: str, tells: int, obeys: int, *filters: int) -> Sequence[str]:
        sizes = self._sizes
        limits = (*sizes.limits, f"processes={sizes.processes}")
        supervisor = (python_program(), "-P", "-m", SUPERVISOR_MODULE, str(obeys), descriptors, *limits)
        return (*self._line(filters, access), "--as-pid-1", "--info-fd", str(tells), "--", *supervisor)

    def _line(self, filters: Sequence[int] = (), access: Access = NO_ACCESS) -> Iterator[str]:
        sizes = self._sizes
        yield self._program
        for descriptor in filters:
            yield from ("--seccomp", str(descriptor))
        shared = ("--share-net",) if access.network else ()
        yield from ("--unshare-all", *shared, "--unshare-user", *self._options, "--die-with-parent", "--new-session")
        yield "--clearenv"
        for name, value in _environment(access.gpus).items():
            yield from ("--setenv", name, value)
        yield from _system()
        yield from _processes()
        yield from ("--dev", "/dev")
        for path in devices_of(access.gpus):
            yield from ("--dev-bind-try", path, path)
        yield from ("--size", str(sizes.shared_memory_bytes), "--tmpfs", "/dev/shm")  # noqa: S108
        yield from ("--size", str(sizes.tmp_bytes), "--tmpfs", "/tmp")  # noqa: S108
        yield from ("--size", str(sizes.scratch_bytes), "--tmpfs", SCRATCH)
        for name in ETC_OF_NETWORK if access.network else ():
            yield from ("--ro-bind-try", f"/etc/{name}", f"/etc/{name}")
        # After the empty folders, for the Python may live below /tmp.
        for path in python_paths():
            yield from ("--ro-bind", path, path)
        yield from ("--remount-ro", "/", "--remount-ro", "/dev", "--cap-drop", "ALL", "--chdir", SCRATCH)


def _environment(gpus: Sequence[Gpu]) -> dict[str, str]:
    env = clean_environment(SCRATCH, gpus)
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
    for path in hidden_in_proc():
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
            with suppress(psutil.Error):  # it is gone, or not ours to end
                process.kill()


class BubblewrapWorker(SupervisedWorker):
    def __init__(
        self, spawned: Spawned, guarantees: Guarantees, group: Group | None, told: int, orders: socket.socket
    ) -> None:
        super().__init__(spawned.pipes, guarantees, group, orders)
        self._child = spawned.child
        self._told = told

    @property
    def pid(self) -> int:
        """Of bubblewrap itself, which ends with what is in it."""
        return self._child.pid

    async def wait(self) -> str:
        return await self._child.wait()

    async def _receive_ready(self) -> None:
        await trio.lowlevel.wait_readable(self._told)
        self._find_first()
        if self._first is None:
            raise RemoteProtocolError(await self.wait())
        await self._enter_group(self._first_pid)
        await self._begin()
        if self._group is not None:  # the supervisor stops them at once, whatever they do
            await beside(self._group.set_apart, self._first_pid)
        await super()._receive_ready()

    def _find_first(self) -> None:
        """bubblewrap tells its number as soon as there is one, in a first part of what is JSON in the end."""
        with suppress(OSError):
            if told := _CHILD_PID.search(os.read(self._told, 4096)):
                self._hold(int(told[1]))

    async def _end_all(self) -> None:
        if self._first is None:
            # Killed before it has told whom it started, bubblewrap would leave that process behind.
            with trio.move_on_after(END_TIMEOUT_S):
                await trio.lowlevel.wait_readable(self._told)
            self._find_first()
        self._kill_first()
        if self._first is not None:
            with trio.move_on_after(END_TIMEOUT_S):
                await self.wait()
        self._child.signal(signal.SIGKILL)
        if self._first is not None:
            with trio.move_on_after(END_TIMEOUT_S):
                await trio.lowlevel.wait_readable(self._first)

    def _close(self) -> None:
        super()._close()
        self._child.close()
        os.close(self._told)
