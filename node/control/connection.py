"""What one program, or one task that runs here, asks of the node, and its answers."""

from __future__ import annotations

import json
import logging
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol

import trio

from ...overlay import boundary
from ...overlay.errors import LimitExceeded, LinkLost, PotluckError, RemoteProtocolError
from ...overlay.outbox import ParcelOutbox, ParcelSink
from ...overlay.parcels import Parcel, pieces_of, size_of
from ...overlay.wire import control
from ...overlay.wire.codec import Message
from ...overlay.wire.control import TO_NODE, TO_PROGRAM
from ...overlay.wire.framing import VALUE_BYTES_MAX
from ...overlay.wire.processes import ActOnProcesses, AskProcesses
from ...overlay.wire.questions import AskJob
from ..execution.lines import TaskLine
from ..objects import PART_BYTES
from .jobs import OpenJobs
from .rights import OfTask, Rights
from .served import House, Served
from .uploads import Uploads

logger = logging.getLogger("potluck.control")

_ASKING_AT_ONCE: Final = 64
_ASKED_MAX: Final = 32_768
_UNREAD_BYTES_MAX: Final = 8 << 20
"""Who has so many answers to read is not heard until some of them are read."""


class _Stream(ParcelSink, Protocol):
    takes_parcels: bool

    def claim(self, size_bytes: int) -> Parcel: ...

    async def receive_some(self) -> bytes: ...


async def serve_task(node: Served, line: TaskLine, rights: OfTask) -> None:
    """A task that runs here, as the program that it is to its own tasks. Until the line ends, and these with it."""
    await Connection(node, None, line, rights).run()


class Connection:
    """One program, or one task; the house is for programs alone."""

    def __init__(self, node: Served, house: House | None, stream: _Stream, rights: Rights) -> None:
        self._node = node
        self._of_programs = house
        self._stream = stream
        self._rights = rights
        self._boundary = boundary.Boundary("what a program has asked", node.failed, PotluckError)
        self._frames = TO_NODE.frames()
        self._outbox = ParcelOutbox()
        self._jobs = OpenJobs(node, rights, self._post)
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
            self._jobs.close_all()
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
        if isinstance(message, control.Submit):
            self._jobs.refuse(message, error)
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
                self._jobs.submit(message)
            case control.CancelTasks():
                self._jobs.cancel(message)
            case control.PutPart():
                self._uploads.take(message)
            case control.PutParcel(object_id, size_bytes):
                self._uploads.put(object_id, self._stream.claim(size_bytes))
            case control.OpenJob(request, options):
                self._answer(request, {"job": self._jobs.open(options)})
            case control.CloseJob(job):
                self._jobs.close(job)
            case control.OutputShown(source, said) | control.InputGiven(source, said):
                self._jobs.answer(source, said)
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
