"""Workers inside Docker containers: the same walls as bubblewrap's, put up by an engine that runs already.

The engine makes the room: no network, a read-only root, no capabilities and no new privileges, its own filter of system
calls, limits on memory, processes and CPU, and the same view of the machine as inside bubblewrap. It is asked to begin
and end containers, and carries nothing of what is said in them:

node                               engine                     container
a socket at DOOR, in a folder of
its own that only it may enter
                   ── begin ─────▶  ── process 1, DOOR mounted ▶  `entrance`
one connection     ◀──────────────────────────────────────────  connects
closes DOOR
six descriptors    ──────────────────────────────────────────▶  is the `supervisor`, forks the worker

So pipes, parcels, stopping and ending are those of any other worker. The kernel says who has connected: that is process
1 of the container, whose end is the end of everything in it. A container has a user of its own that nobody else is (or
the node's, which may not choose one unless it is root's).
"""

from __future__ import annotations

import itertools
import os
import socket
import struct
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, TypeVar

import psutil
import trio

from ...overlay.errors import SandboxUnavailable
from ...overlay.ports import NO_ACCESS, Access, Gpu
from ...overlay.threads import beside
from ...overlay.wire.capabilities import Guarantees
from ..inside.entrance import hand_over
from ..resources.gpus import devices_of
from .bare import Scratch
from .cgroups import group_of
from .containers import CALL_TIMEOUT_S, ContainerEngine
from .pipes import Pipes, open_pipes
from .spawning import clean_environment
from .supervised import SCRATCH, Sizes, SupervisedWorker
from .visible import ETC, SYSTEM, hidden_in_proc, python_paths, python_program

Argument = TypeVar("Argument")
Result = TypeVar("Result")

ENTRANCE_MODULE: Final = "potluck.node.inside.entrance"
DOOR: Final = "/door"
CALLS_AT_ONCE_MAX: Final = 8
_MEMORY_SHARE: Final = 0.75
"""Of the machine's, that one container may take at most; a task's own limit is mostly less."""
_CPU_SHARES: Final = 512
_USERS_FROM: Final = 1 << 30
_USERS_EACH: Final = 256
"""Numbers of users for the sandboxes of one node, far above those of people; the kernel counts some things by user."""
_CREDENTIALS: Final = struct.Struct("3i")

_TRIAL: Final = f"""
import socket
import {ENTRANCE_MODULE}, potluck.node.inside.worker
socket.socket(socket.AF_UNIX).connect({DOOR!r})
"""


class DockerSandbox:
    """Made by `find`, which proves that it works here."""

    backend = "docker"
    takes_parcels = True
    opens_network = False

    def __init__(self, engine: ContainerEngine, image: str, sizes: Sizes) -> None:
        self._engine = engine
        self._image = image
        self._sizes = sizes
        self._memory_bytes = int(psutil.virtual_memory().total * _MEMORY_SHARE)
        self._calls = trio.CapacityLimiter(CALLS_AT_ONCE_MAX)
        self._numbers = itertools.count()
        limits = engine.limits
        self.guarantees = Guarantees(
            network=True,
            filesystem=True,
            environment=True,
            memory=limits.memory,
            cpu=limits.cpu,
            processes=limits.processes,
            disk=True,
            time=True,
            kill_all=True,
        )

    @classmethod
    def find(cls, sizes: Sizes | None = None) -> DockerSandbox:
        """Blocks for a trial run, about half a second. Raises SandboxUnavailable with the reason."""
        engine = ContainerEngine.connect()
        try:
            engine.remove_abandoned()
            sandbox = cls(engine, engine.prepare_image(), sizes or Sizes())
            sandbox._try()
        except SandboxUnavailable:
            engine.close()
            raise
        return sandbox

    def _try(self) -> None:
        user = self._user()
        with Door() as door:
            described = self._described(door, user, ("-c", _TRIAL))
            described["HostConfig"] |= {"AutoRemove": False, "LogConfig": {}}
            container = self._engine.begin(described)
            try:
                if failed := self._engine.outcome(container):
                    raise SandboxUnavailable(f"docker: Python does not work in a container: {failed}")
                with door.accept() as connection:
                    _peer(connection)
            finally:
                self._engine.remove(container)

    async def start(self, access: Access = NO_ACCESS) -> DockerWorker:
        with ExitStack() as theirs, ExitStack() as ours:
            try:
                pipes, ends = open_pipes(ours, theirs)
                orders, obeys = socket.socketpair()
                ours.callback(orders.close)
                theirs.callback(obeys.close)
                user = self._user()
                for descriptor in ends.standard:
                    os.fchown(descriptor, user, -1)  # so that they can be opened anew, as /dev/stdout is
                with await self._connected(user, access.gpus) as connection:
                    pid = _peer(connection)
                    hand_over(connection, (obeys.fileno(), ends.pipe, ends.tally, *ends.standard))
                worker = DockerWorker(pipes, self.guarantees, orders, pid)
            except OSError as error:
                raise SandboxUnavailable(f"docker: a worker cannot be begun: {error}") from error
            ours.pop_all()
        await worker.await_ready()
        return worker

    async def _connected(self, user: int, gpus: Sequence[Gpu]) -> socket.socket:
        """To process 1 of a new container."""
        with Door() as door:
            described = self._described(door, user, self._entrance(), gpus)
            container = await self._in_thread(self._engine.begin, described)
            try:
                with trio.fail_after(CALL_TIMEOUT_S):
                    await trio.lowlevel.wait_readable(door.listener)
                return door.accept()
            except trio.TooSlowError as error:
                await self._in_thread(self._engine.remove, container)
                raise SandboxUnavailable("docker: a container has begun, and nothing in it") from error
            except trio.Cancelled:  # nobody else knows of the container yet
                with trio.CancelScope(shield=True):
                    await self._in_thread(self._engine.remove, container)
                raise

    async def _in_thread(self, call: Callable[[Argument], Result], argument: Argument) -> Result:
        return await beside(call, argument, limiter=self._calls)

    def _user(self) -> int:
        """A node that is not root's can be sure of reading its own Python as itself only."""
        return os.getuid() or _USERS_FROM + os.getpid() * _USERS_EACH + next(self._numbers) % _USERS_EACH

    def _entrance(self) -> Sequence[str]:
        return ("-m", ENTRANCE_MODULE, DOOR, *self._sizes.limits)

    def _described(self, door: Door, user: int, arguments: Sequence[str], gpus: Sequence[Gpu] = ()) -> dict[str, Any]:
        """As the engine's interface has it."""
        return {
            "Image": self._image,
            "Entrypoint": [python_program(), "-P", *arguments],
            "User": f"{user}:{os.getgid() or user}",
            "Env": [f"{name}={value}" for name, value in clean_environment(SCRATCH, gpus).items()],
            "WorkingDir": SCRATCH,
            "Hostname": "potluck",
            "NetworkDisabled": True,
            "HostConfig": {
                **self._walls(user),
                **self._most(),
                "Mounts": [*_mounts(), _bind(door.path, DOOR)],
                "Devices": [_device(path) for path in devices_of(gpus) if Path(path).exists()],
                "AutoRemove": True,
                "LogConfig": {"Type": "none"},
            },
        }

    def _walls(self, user: int) -> dict[str, Any]:
        sizes, options = self._sizes, f"exec,nosuid,nodev,uid={user},gid={os.getgid() or user},mode=0700"
        return {
            "NetworkMode": "none",
            "IpcMode": "private",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "Tmpfs": {
                SCRATCH: f"{options},size={sizes.scratch_bytes}",
                "/tmp": f"{options},size={sizes.tmp_bytes}",  # noqa: S108 (inside)
            },
            "ShmSize": sizes.shared_memory_bytes,
            # What the engine would write into them tells of the machine.
            "MaskedPaths": ["/sys", "/etc/hosts", "/etc/resolv.conf", *map(str, hidden_in_proc())],
            "ReadonlyPaths": ["/proc/sys"],
        }

    def _most(self) -> dict[str, Any]:
        """As far as the engine can limit at all."""
        limits = self._engine.limits
        most: dict[str, Any] = {"CpuShares": _CPU_SHARES} if limits.cpu else {}
        if limits.memory:
            most |= {"Memory": self._memory_bytes, "MemorySwap": self._memory_bytes}
        if limits.processes:
            most["PidsLimit"] = self._sizes.processes + 1
        return most


def _mounts() -> list[dict[str, Any]]:
    """What of the machine can be seen. Links of the system are in the image."""
    system = [path for path in SYSTEM if Path(path).is_dir() and not Path(path).is_symlink()]
    etc = [f"/etc/{name}" for name in ETC if Path("/etc", name).exists()]
    return [_bind(path, path) for path in (*system, *etc, *python_paths())]


def _bind(source: str, target: str) -> dict[str, Any]:
    # What is mounted below it on the machine would not be read-only with every engine.
    options = {"NonRecursive": True, "Propagation": "rprivate"}
    return {"Type": "bind", "Source": source, "Target": target, "ReadOnly": True, "BindOptions": options}


def _device(path: str) -> dict[str, str]:
    return {"PathOnHost": path, "PathInContainer": path, "CgroupPermissions": "rw"}


class Door:
    """A socket for one connection, in a folder that only this user enters, and gone with it."""

    def __enter__(self) -> Door:
        with ExitStack() as made:
            self._folder = Scratch()
            made.callback(self._folder.remove)
            self.path = f"{self._folder.path}/door"
            self.listener = made.enter_context(socket.socket(socket.AF_UNIX))
            # The folder's own path may be longer than addresses of sockets are.
            folder = os.open(self._folder.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            made.callback(os.close, folder)
            self.listener.bind(f"/proc/self/fd/{folder}/door")
            Path(self.path).chmod(0o666)
            self.listener.listen(1)
            self.listener.setblocking(False)
            self._made = made.pop_all()
        return self

    def __exit__(self, *_error: object) -> None:
        self._made.close()

    def accept(self) -> socket.socket:
        """Raises OSError where nobody has connected."""
        connection, _address = self.listener.accept()
        connection.setblocking(True)
        return connection


def _peer(connection: socket.socket) -> int:
    """The number of the process that has connected. Raises SandboxUnavailable."""
    credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid = int(_CREDENTIALS.unpack(credentials)[0])
    if not pid:
        raise SandboxUnavailable("docker: its containers run where this node does not see them")
    return pid


class DockerWorker(SupervisedWorker):
    """The engine removes the container when process 1 has ended."""

    def __init__(self, pipes: Pipes, guarantees: Guarantees, orders: socket.socket, pid: int) -> None:
        super().__init__(pipes, guarantees, group_of(pid), orders)
        self._counted = pid
        self._hold(pid)
        self._ending = trio.Lock()
        self._how = ""

    @property
    def pid(self) -> int:
        """Of process 1."""
        return self._first_pid

    async def wait(self) -> str:
        async with self._ending:
            if not self._how and self._first is not None:
                await trio.lowlevel.wait_readable(self._first)
                self._how = await self._last_words()
        return self._how

    async def _receive_ready(self) -> None:
        await self._begin()
        await super()._receive_ready()

    async def _end_all(self) -> None:
        self._kill_first()
