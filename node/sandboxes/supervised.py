"""A worker behind a `supervisor`: in a namespace of processes whose first is ours, with its own folders in memory."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import msgspec
import trio

from ...overlay.errors import LinkLost
from ...overlay.transport.sockets import SocketStream
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.limits import Usage
from ..inside.orders import BEGIN, CONTINUE, STOP, status_in
from .cgroups import Group
from .pipes import PipedWorker, Pipes, ending

SCRATCH: Final = "/scratch"
WRITABLE: Final = (SCRATCH, "/tmp", "/dev/shm")  # noqa: S108 (inside)


class Sizes(msgspec.Struct, frozen=True):
    """All in memory, and only as far as they are used."""

    scratch_bytes: int = 1 << 30
    tmp_bytes: int = 256 << 20
    shared_memory_bytes: int = 256 << 20
    processes: int = 512
    files: int = 4096

    @property
    def limits(self) -> Sequence[str]:
        """For the worker program; nothing in a sandbox could be larger than its scratch anyway."""
        return ("core=0", f"files={self.files}", f"file_bytes={self.scratch_bytes}")


class SupervisedWorker(PipedWorker):
    """Subclasses find process 1 of the namespace, and give it to `_hold`."""

    def __init__(self, pipes: Pipes, guarantees: Guarantees, group: Group | None, orders: socket.socket) -> None:
        super().__init__(pipes, guarantees, group)
        self._orders = SocketStream(orders, "the worker has gone")
        self._ordering = trio.Lock()
        self._first: int | None = None
        """A handle on process 1 of the namespace; when that has ended, the kernel has ended all others."""
        self._first_pid = 0
        self._last_said = b""
        """What the supervisor has said beside its answers."""

    async def stop(self) -> None:
        await self._order(STOP)

    async def resume(self) -> None:
        await self._order(CONTINUE)

    async def _order(self, order: bytes) -> None:
        """Returns when the supervisor has carried it out. Raises LinkLost."""
        async with self._ordering:
            with trio.CancelScope(shield=True):  # an answer that nobody waits for would be the next one's
                await self._orders.send_all(order)
                answer = await self._orders.receive_some()
                self._last_said += answer.removeprefix(order)
                if not answer.startswith(order):
                    raise LinkLost("the worker has gone")

    async def _last_words(self) -> str:
        """Once process 1 has ended: how the worker had, for a person."""
        async with self._ordering:
            with suppress(LinkLost):
                while said := await self._orders.receive_some():
                    self._last_said += said
        return ending(status_in(self._last_said))

    async def _begin(self) -> None:
        """The worker, inside whatever process 1 has been put into. Raises LinkLost."""
        await self._order(BEGIN)

    def _hold(self, pid: int) -> None:
        """Raises OSError."""
        self._first_pid = pid
        self._first = os.pidfd_open(pid)

    def usage(self) -> Usage:
        """What lies in the folders in memory counts as memory, also where no control group counts it."""
        usage = super().usage()
        folders = [_statistics(f"/proc/{self._first_pid}/root{folder}") for folder in WRITABLE]
        disk_bytes = sum((one.f_blocks - one.f_bfree) * one.f_frsize for one in folders if one)
        return msgspec.structs.replace(
            usage,
            disk_bytes=disk_bytes,
            disk_full=any(one is not None and not one.f_bfree for one in folders),
            memory_bytes=usage.memory_bytes + (0 if self._group is not None else disk_bytes),
        )

    def begin_to_kill(self) -> None:
        """What the task has started ends before what is ours: of many at once, all of that would wait for all of this.
        Process 1 is held where it is meanwhile; it would take its turns to end when the worker does."""
        if self._group is None or self._closed:
            self._kill_first()
        else:
            self._signal_first(signal.SIGSTOP)
            self._group.kill(apart=self._first_pid)

    def _kill_first(self) -> None:
        self._signal_first(signal.SIGKILL)

    def _signal_first(self, number: signal.Signals) -> None:
        if self._first is not None and not self._closed:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, number)

    def _close(self) -> None:
        super()._close()
        self._orders.close()
        if self._first is not None:
            os.close(self._first)


def _statistics(folder: str) -> os.statvfs_result | None:
    try:
        return os.statvfs(folder)
    except OSError:
        return None
