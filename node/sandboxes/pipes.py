"""What lies between the node and one worker process, wherever that runs: its pipe, and its stdin, stdout and stderr.

`open_pipes` makes both ends at once. Ours stay; theirs are inherited by a child, or handed on as descriptors, and are
closed here as soon as the worker has them.
"""

from __future__ import annotations

import os
import select
import signal
import socket
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Final

import msgspec
import trio

from ...overlay.errors import LinkLost, RemoteProtocolError, SandboxUnavailable
from ...overlay.parcels import Parcel
from ...overlay.ports import OUTPUT_PART_BYTES
from ...overlay.threads import beside
from ...overlay.transport.sockets import SocketStream
from ...overlay.wire.capabilities import Guarantees
from ...overlay.wire.limits import Limits, Usage
from ...overlay.wire.worker import FROM_WORKER, WorkerReady
from ..inside.orders import SIGNALLED
from ..inside.tally import Tally
from ..resources.binding import bind
from .cgroups import Group
from .trees import descendants_of, usage_of

READY_TIMEOUT_S: Final = 20.0
END_TIMEOUT_S: Final = 2.0
STDERR_SHOWN_BYTES: Final = 500


class Pipes(msgspec.Struct):
    """The node's ends."""

    socket: socket.socket
    input: int
    outputs: tuple[int, int]
    tally: Tally


class WorkerEnds(msgspec.Struct):
    """Descriptors for the worker."""

    pipe: int
    tally: int
    standard: tuple[int, int, int]


def open_pipes(ours: ExitStack, theirs: ExitStack) -> tuple[Pipes, WorkerEnds]:
    """Each closed by its stack. Raises OSError."""
    pipe, worker_pipe = socket.socketpair()
    ours.callback(pipe.close)
    theirs.callback(worker_pipe.close)
    tally = Tally()
    ours.callback(tally.close)
    theirs.callback(os.close, tally.descriptor)
    stdout, stderr = _output_pipe(ours, theirs), _output_pipe(ours, theirs)
    stdin = _input_pipe(ours, theirs)
    ends = WorkerEnds(worker_pipe.fileno(), tally.descriptor, (stdin[0], stdout[1], stderr[1]))
    return Pipes(pipe, stdin[1], (stdout[0], stderr[0]), tally), ends


def _input_pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    theirs.callback(os.close, read)
    ours.callback(os.close, write)
    os.set_blocking(write, False)
    return read, write


def _output_pipe(ours: ExitStack, theirs: ExitStack) -> tuple[int, int]:
    read, write = os.pipe()
    ours.callback(os.close, read)
    theirs.callback(os.close, write)
    os.set_blocking(read, False)
    return read, write


class PipedWorker:
    """A `WorkerProcess` of this machine. Subclasses know how it ends, and how to end everything it has started."""

    def __init__(self, pipes: Pipes, guarantees: Guarantees, group: Group | None) -> None:
        self._group = group
        self._counted = 0
        """Where the tree begins that is counted as the worker's."""
        self._pipe = SocketStream(pipes.socket, "the worker has gone", takes_parcels=True)
        self._input: int | None = pipes.input
        self._outputs = pipes.outputs
        self._tally = pipes.tally
        self._guarantees = guarantees
        self._killing = trio.Lock()
        self._closed = False

    @property
    def guarantees(self) -> Guarantees:
        return self._guarantees

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        return self._pipe.send_now(data, parcels)

    def claim(self, size_bytes: int) -> Parcel:
        return self._pipe.claim(size_bytes)

    async def flush(self) -> None:
        await self._pipe.flush()

    async def receive_some(self) -> bytes:
        try:
            return await self._pipe.receive_some()
        except LinkLost:
            return b""

    def receive_ready(self) -> bytes:
        return self._pipe.receive_ready()

    async def output_arrived(self, stream: int) -> bool:
        pipe = self._outputs[stream - 1]
        try:
            await trio.lowlevel.wait_readable(pipe)
        except trio.ClosedResourceError:
            return False
        return not _has_ended(pipe)

    def read_output(self, stream: int) -> bytes:
        """b"" after `kill`."""
        return b"" if self._closed else self._tally.take(stream, self._outputs[stream - 1], OUTPUT_PART_BYTES)

    async def send_input(self, data: bytes) -> None:
        rest = memoryview(data)
        await trio.lowlevel.checkpoint()
        try:
            while rest and self._input is not None:
                try:
                    rest = rest[os.write(self._input, rest) :]
                except BlockingIOError:
                    await trio.lowlevel.wait_writable(self._input)
        except (OSError, trio.ClosedResourceError) as error:
            raise LinkLost(f"the worker has gone: {error}") from error

    def end_input(self) -> None:
        if self._input is not None:
            trio.lowlevel.notify_closing(self._input)
            os.close(self._input)
            self._input = None

    def begin_to_kill(self) -> None:
        """All of it waits for `kill`."""

    async def kill(self) -> None:
        with trio.CancelScope(shield=True):
            async with self._killing:
                if not self._closed:
                    await self._end_all()
                    await self.wait()
                    self._close()

    async def _enter_group(self, pid: int) -> None:
        """From here on all that this process starts is counted and limited as one. Raises RemoteProtocolError."""
        self._counted = pid
        if self._group is not None:
            try:
                await beside(self._group.enter, pid)
            except OSError as error:
                raise RemoteProtocolError(f"it could not be put into its control group: {error}") from error

    def bind(self, cores: Sequence[int]) -> None:
        bind(self._whole, cores or os.sched_getaffinity(0))

    def _whole(self) -> set[int]:
        return {self._counted, *descendants_of(self._counted)}

    def limit(self, limits: Limits) -> None:
        if self._group is not None:
            self._group.limit(limits)

    def usage(self) -> Usage:
        if self._group is not None:
            return self._group.usage()
        return usage_of(self._whole())

    async def wait(self) -> str:
        raise TypeError("each sandbox learns in its own way how a worker has ended")

    async def stop(self) -> None:
        raise TypeError("each sandbox stops its processes in its own way")

    async def resume(self) -> None:
        raise TypeError("each sandbox continues its processes in its own way")

    async def _end_all(self) -> None:
        raise TypeError("each sandbox ends its processes in its own way")

    def _close(self) -> None:
        self._closed = True
        self.end_input()
        for descriptor in self._outputs:
            trio.lowlevel.notify_closing(descriptor)
        self._pipe.close()
        self._tally.close()
        for descriptor in self._outputs:
            os.close(descriptor)
        if self._group is not None:
            self._group.remove()

    async def await_ready(self) -> None:
        """Raises SandboxUnavailable, after killing the process, if it does not say WorkerReady in time."""
        try:
            with trio.fail_after(READY_TIMEOUT_S):
                await self._receive_ready()
        except (trio.TooSlowError, RemoteProtocolError, LinkLost, OSError) as error:
            said = self.read_output(2)[:STDERR_SHOWN_BYTES].decode(errors="replace").strip()
            await self.kill()
            reason = said or str(error) or f"it was not ready within {READY_TIMEOUT_S:.0f} s"
            raise SandboxUnavailable(f"a worker process did not start: {reason}") from error
        except trio.Cancelled:
            await self.kill()
            raise

    async def _receive_ready(self) -> None:
        frames = FROM_WORKER.frames()
        while (body := frames.next_body()) is None:
            chunk = await self.receive_some()
            if not chunk:
                raise RemoteProtocolError(await self.wait())
            frames.feed(chunk)
        if not isinstance(FROM_WORKER.decode(body), WorkerReady) or frames.pending_bytes:
            raise RemoteProtocolError("its first message was not that it is ready")


def _has_ended(pipe: int) -> bool:
    """Nobody writes to it any more, and all of it has been read."""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    return poll.poll(0) == [(pipe, select.POLLHUP)]


def ending(returncode: int) -> str:
    """For a person."""
    number = -returncode if returncode < 0 else returncode - SIGNALLED
    try:
        return f"killed by {signal.Signals(number).name}" if number > 0 else f"exit status {returncode}"
    except ValueError:
        return f"exit status {returncode}"
