"""The control socket: programs and verbs of the same user talk to the node here.

The socket lies in a folder of mode 0700 and is 0600; a peer of another uid is turned away all the same. A connection's
jobs end with it.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Final, Protocol

import trio

from ..overlay import boundary
from ..overlay.errors import (
    ConfigError,
    LimitExceeded,
    LinkLost,
    NotFound,
    PotluckError,
    RemoteProtocolError,
)
from ..overlay.ids import NodeId, check_one, is_called
from ..overlay.outbox import ParcelOutbox, ParcelSink
from ..overlay.parcels import Parcel, pieces_of, size_of
from ..overlay.transport.sockets import SocketStream
from ..overlay.wire import control
from ..overlay.wire.codec import Message
from ..overlay.wire.control import TO_NODE, TO_PROGRAM, NodeReports
from ..overlay.wire.framing import VALUE_BYTES_MAX
from ..overlay.wire.processes import ActOnProcesses, AskProcesses
from ..overlay.wire.questions import AskJob
from ..overlay.wire.streams import InputWanted, TaskOutput
from ..overlay.wire.work import Fault, Finished, Reference, Report
from .audit.inquiry import Inquiry
from .cache import ResultCache
from .custody.questions import Questions
from .custody.service import Custody
from .execution.lines import TaskLine
from .jobs.service import Jobs
from .leaving import Leaving
from .lending.service import LendingService
from .memory import SharedMemory
from .objects import PART_BYTES, Objects
from .processes.service import ProcessTable
from .rights import OfProgram, OfTask, Rights
from .streams import Streams
from .tenancy import taken
from .uploads import Uploads

logger = logging.getLogger("potluck.control")

_ASKING_AT_ONCE: Final = 64
_ASKED_MAX: Final = 32_768
_UNREAD_BYTES_MAX: Final = 8 << 20
"""Who has so many answers to read is not heard until some of them are read."""


class Served(Protocol):
    """What a node offers to its user's programs."""

    jobs: Jobs
    streams: Streams
    inquiry: Inquiry
    cache: ResultCache
    custody: Custody
    questions: Questions
    processes: ProcessTable
    lending: LendingService
    memory: SharedMemory
    objects: Objects
    failed: boundary.Failed

    @property
    def name(self) -> str: ...

    @property
    def node_id(self) -> NodeId: ...

    def status(self) -> dict[str, object]: ...

    def policy(self, spec: str) -> dict[str, object]: ...

    async def peers(self) -> list[dict[str, object]]: ...

    def slots_in_mesh(self) -> int: ...

    @property
    def farewell(self) -> Leaving: ...

    def shut_down(self) -> None: ...

    def watch(self, watcher: Callable[[dict[str, object]], None]) -> Callable[[], None]: ...

    async def members(self) -> list[dict[str, object]]: ...


class House(Protocol):
    """What the process around a node offers: who is let in and who is banned, moving into another mesh, and what is
    wrong here."""

    def invite(self, wanted: control.Invite) -> dict[str, object]: ...

    def reload(self, peers: Sequence[str]) -> None: ...

    async def rotate(self, wanted: control.Rotate) -> dict[str, object]: ...

    async def ban(self, wanted: control.Ban) -> dict[str, object]: ...

    async def examine(self) -> list[dict[str, object]]: ...


async def serve(node: Served, house: House, listener: trio.SocketListener, path: Path) -> None:
    """Accepts programs until cancelled; then the socket is gone."""

    async def admit(stream: trio.SocketStream) -> None:
        if _uid_of_peer(stream) == os.getuid():
            program = SocketStream.of(stream, "the program has gone", takes_parcels=True)
            try:
                await _Connection(node, house, program, OfProgram()).run()
            finally:
                program.close()

    try:
        await trio.serve_listeners(admit, [listener])
    finally:
        path.unlink(missing_ok=True)


async def listen(path: Path, name: str) -> trio.SocketListener:
    """Takes the socket of this name. Raises NameInUse when a living node has it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        probe = await trio.open_unix_socket(str(path))
    except (FileNotFoundError, ConnectionRefusedError):
        path.unlink(missing_ok=True)  # what a killed node left behind
    else:
        await trio.aclose_forcefully(probe)
        raise taken(name)
    server = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await server.bind(str(path))
    except OSError as error:
        server.close()
        raise ConfigError(f"{path.parent} cannot be used: {error.strerror or error}") from error
    path.chmod(0o600)
    server.listen(128)
    return trio.SocketListener(server)


def _uid_of_peer(stream: trio.SocketStream) -> int:
    credentials = stream.socket.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    uid: int = struct.unpack("3i", credentials)[1]
    return uid


async def serve_task(node: Served, line: TaskLine, rights: OfTask) -> None:
    """A task that runs here, as the program that it is to its own tasks. Until the line ends, and these with it."""
    await _Connection(node, None, line, rights).run()


class _Stream(ParcelSink, Protocol):
    takes_parcels: bool

    def claim(self, size_bytes: int) -> Parcel: ...

    async def receive_some(self) -> bytes: ...


class _Connection:
    """One program, or one task; the house is for programs alone."""

    def __init__(self, node: Served, house: House | None, stream: _Stream, rights: Rights) -> None:
        self._node = node
        self._of_programs = house
        self._stream = stream
        self._rights = rights
        self._boundary = boundary.Boundary("what a program has asked", node.failed, PotluckError)
        self._frames = TO_NODE.frames()
        self._outbox = ParcelOutbox()
        self._jobs: set[str] = set()
        self._cached: set[str] = set()
        """Those whose results may come from earlier runs."""
        self._lasting: set[str] = set()
        """Jobs of this program that go on without it."""
        self._uploads = Uploads(node.objects.table, f"upload {id(self)}", rights.uploads_bytes_max)
        self._asked: deque[Message] = deque()
        """Requests whose answer takes a while, not begun."""
        self._asking = 0
        """Those under way."""
        self._unwatch: list[Callable[[], None]] = []

    async def run(self) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guarded, self._outbox.run, nursery.cancel_scope, self._stream)
                await self._guarded(self._read, nursery.cancel_scope, nursery)
        finally:
            for unwatch in self._unwatch:
                unwatch()
            for job in sorted(self._jobs):
                self._end(job)
            for job in sorted(self._lasting):
                self._node.custody.let_go(job)
            self._uploads.end()

    async def _guarded(self, work: Callable[..., Awaitable[None]], scope: trio.CancelScope, *args: object) -> None:
        try:
            await work(*args)
        except LinkLost:
            pass  # the program has gone
        except RemoteProtocolError as error:
            logger.warning("a program broke the control protocol: %s", error)
        scope.cancel()

    def _post(self, message: Message) -> None:
        self._outbox.put(TO_PROGRAM.encode(message))

    async def _read(self, nursery: trio.Nursery) -> None:
        while chunk := await self._stream.receive_some():
            self._frames.feed(chunk)
            while (body := self._frames.next_body()) is not None:
                message = TO_NODE.decode(body)
                await self._outbox.wait_below(_UNREAD_BYTES_MAX)
                try:
                    with self._boundary:
                        self._take(message, nursery)
                except PotluckError as error:
                    if isinstance(error, RemoteProtocolError):
                        raise
                    self._fail(message, error)

    def _fail(self, message: Message, error: PotluckError) -> None:
        number = getattr(message, "request", None)
        if isinstance(message, control.Submit):  # whoever waits for these tasks must hear of it
            fault = Fault(error.wire_code, str(error))
            reports: list[Report] = [Finished(task.index, 0, fault=fault) for task in message.tasks]
            self._report(message.job, [NodeReports("", True, reports)])
        elif number is not None:
            self._post(control.Failure(number, error.wire_code, str(error)))
        else:
            logger.warning("%s was refused: %s", type(message).__name__, error)

    @property
    def _house(self) -> House:
        assert self._of_programs is not None
        return self._of_programs

    def _take(self, message: Message, nursery: trio.Nursery) -> None:
        self._rights.check(message)
        node = self._node
        match message:
            case control.Submit():
                self._submit(message)
            case control.CancelTasks():
                if message.job in self._cached:
                    node.cache.cancel(message.job, message.indexes, self._report)
                node.jobs.cancel(message.job, message.indexes)
            case control.PutPart():
                self._uploads.take(message)
            case control.PutParcel(object_id, size_bytes):
                self._uploads.put(object_id, self._stream.claim(size_bytes))
            case control.OpenJob():
                self._open(message)
            case control.CloseJob():
                self._close(message.job)
            case control.OutputShown(source, taken):
                if taken.job in self._jobs:
                    node.streams.answer(NodeId(source), taken)
            case control.InputGiven(source, part):
                if part.job in self._jobs:
                    node.streams.answer(NodeId(source), part)
            case control.Greeting():
                self._greet(message)
            case control.AskPolicy(request, policy):
                self._answer(request, node.policy(policy))
            case control.AskStatus():
                self._answer(message.request, node.status())
            case control.Watch():
                self._watch(message)
            case control.Invite():
                self._answer(message.request, self._house.invite(message))
            case control.Reload():
                self._answer(message.request, {"reloading": node.name})
                self._house.reload(message.peers)
            case _:
                self._ask(message, nursery)

    def _ask(self, message: Message, nursery: trio.Nursery) -> None:
        """Its answer takes a while. Raises LimitExceeded."""
        if len(self._asked) >= _ASKED_MAX:
            raise LimitExceeded(f"{_ASKED_MAX} requests wait for their answers: wait for some of them")
        self._asked.append(message)
        if self._asking < _ASKING_AT_ONCE:
            self._asking += 1
            nursery.start_soon(self._answer_asked)

    async def _answer_asked(self) -> None:
        while self._asked:
            message = self._asked.popleft()
            try:
                with self._boundary:
                    await self._answer_slowly(message)
            except PotluckError as error:
                self._fail(message, error)
        self._asking -= 1

    async def _shut_down(self, request: int, drain_s: float) -> None:
        try:
            done = await self._node.farewell.prepare(drain_s)
            self._answer(request, {"stopped": [self._node.name], **done})
            await self._outbox.wait_empty()
        finally:
            self._node.shut_down()

    async def _answer_slowly(self, message: Message) -> None:
        node, memory = self._node, self._node.memory
        match message:
            case control.ShutDown(request, drain, within_s):
                await self._shut_down(request, within_s if drain else 0.0)
            case control.AskPeers(request):
                self._answer(request, await self._node.peers())
            case control.AskDoctor(request):
                self._answer(request, await self._house.examine())
            case control.AskLending(request, pause):
                unwritten = "" if pause is None else await node.lending.pause(pause)
                self._answer(request, {**node.lending.row(), "unwritten": unwritten})
            case control.AskAudit(request, name, last):
                self._answer(request, await self._node.inquiry.examine(name, last))
            case control.AskMembers(request):
                self._answer(request, await self._node.members())
            case control.Rotate(request):
                self._answer(request, await self._house.rotate(message))
            case control.Ban(request):
                self._answer(request, await self._house.ban(message))
            case control.MemorySet(request, key, value, ttl_s, if_version):
                self._answer(request, await memory.set(key, value, ttl_s, if_version))
            case control.MemoryIncrement(request, key, amount):
                self._answer(request, await memory.increment(key, amount))
            case control.MemoryDelete(request, key):
                self._answer(request, await memory.remove(key))
            case control.MemoryGet(request, key):
                value, version = await memory.get(key)
                self._post(control.MemoryValue(request, value, version))
            case control.SealJob(request, job, tasks):
                await self._node.custody.seal(job, tasks)
                self._answer(request, {"job": job})
            case AskJob():
                self._post(await self._node.questions.answer(message))
            case AskProcesses() | ActOnProcesses():
                self._post(await self._node.processes.answer(message))
            case control.GetObject():
                await self._send_object(message)

    def _answer(self, request: int, value: object) -> None:
        self._post(control.Answer(request, json.dumps(value).encode()))

    def _greet(self, message: control.Greeting) -> None:
        if message.version != control.CONTROL_VERSION:
            raise RemoteProtocolError(f"control version {message.version} is not spoken here")
        node = self._node
        self._post(control.Welcome(control.CONTROL_VERSION, node.name, node.node_id, node.slots_in_mesh()))

    def _open(self, message: control.OpenJob) -> None:
        if len(self._jobs) + len(self._lasting) >= self._rights.jobs_max:
            raise LimitExceeded(f"{self._rights.jobs_max} jobs are open: close some of them")
        options = self._rights.options(message.options)
        if options.on:
            workers = self._node.jobs.master.workers.values()
            check_one(options.on, [one.node_id for one in workers if is_called(one.node_id, one.name, options.on)])
        cached = options.cache
        if options.lasting:
            job = self._node.custody.open(options, self._report)
            self._lasting.add(job)
        else:
            report = self._node.cache.watching(self._report) if cached else self._report
            job = self._node.jobs.open(options, report, origin=self._rights.origin)
            self._jobs.add(job)
            if cached:
                self._cached.add(job)
            if options.streams_output or options.takes_input:
                self._node.streams.follow(job, self._said)
        self._answer(message.request, {"job": job})

    def _said(self, node_id: NodeId, said: TaskOutput | InputWanted) -> None:
        if isinstance(said, TaskOutput):
            self._post(control.Printed(node_id, said))
        else:
            self._post(control.InputAsked(node_id, said))

    def _close(self, job: str) -> None:
        if job in self._lasting:
            self._lasting.discard(job)
            self._node.custody.let_go(job)
        elif job in self._jobs:
            self._jobs.discard(job)
            self._end(job)

    def _end(self, job: str) -> None:
        self._node.streams.leave(job)
        if job in self._cached:
            self._cached.discard(job)
            self._node.cache.forget(job)
        self._node.jobs.close(job)

    def _submit(self, message: control.Submit) -> None:
        if message.job not in self._jobs and message.job not in self._lasting:
            raise NotFound(f"job {message.job} is not of this connection")
        for payload in (message.program.body, *(task.arguments for task in message.tasks)):
            if isinstance(payload, Reference):
                self._node.objects.table.adopt(payload.object_id, message.job)
        if message.job in self._cached:
            submit = self._node.jobs.submit
            self._node.cache.submit(message.job, message.program, message.tasks, submit, self._report)
        elif message.job in self._lasting:
            self._node.custody.submit(message.job, message.program, message.tasks, partial(self._safe, message.job))
        else:
            self._node.jobs.submit(message.job, message.program, message.tasks)

    def _safe(self, job: str, tasks: int) -> None:
        if job in self._lasting:
            self._post(control.TasksSafe(job, tasks))

    def _report(self, job: str, batches: list[NodeReports]) -> None:
        self._rights.reported(batches)
        self._post(control.TaskReports(job, batches))

    async def _send_object(self, message: control.GetObject) -> None:
        reference = message.reference
        held = await self._node.objects.fetch_held(reference)
        if isinstance(held, Parcel) and self._stream.takes_parcels:
            self._outbox.put(TO_PROGRAM.encode(control.ObjectParcel(message.request, held.size_bytes)), held)
        else:
            for number, piece in enumerate(pieces_of(held, PART_BYTES)):
                self._post(control.ObjectBytes(message.request, number * PART_BYTES, size_of(held), piece))
                await self._outbox.wait_below(4 * VALUE_BYTES_MAX)
        self._node.objects.done_with(reference)

    def _watch(self, message: control.Watch) -> None:
        self._unwatch.append(self._node.watch(lambda event: self._answer(message.request, event)))
