"""Shell around one worker process: its start, both directions of its pipe, what it printed, and its end."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, Literal, Protocol

import trio

from ...overlay import boundary
from ...overlay.config import Execution
from ...overlay.errors import (
    InternalError,
    LimitExceeded,
    LinkLost,
    LocalProtocolError,
    NotAllowed,
    OutOfMemory,
    PotluckError,
    RemoteProtocolError,
    SandboxUnavailable,
)
from ...overlay.outbox import ParcelOutbox
from ...overlay.parcels import Parcel
from ...overlay.ports import WorkerProcess
from ...overlay.wire import values
from ...overlay.wire.framing import CONTROL_FRAME_BYTES_MAX
from ...overlay.wire.work import INLINE_BYTES_MAX, Attached, Fault, Inline, Payload
from ...overlay.wire.worker import (
    FROM_WORKER,
    TO_WORKER,
    FromWorker,
    LineSaid,
    NodeAnswer,
    NodeCall,
    TaskFinished,
    TaskSaves,
    TaskWaits,
    TaskWants,
)
from . import events
from .feeding import Feeder
from .lines import Lines, Serve
from .listening import Listener
from .overseeing import Overseer
from .tasks import Task

CALLS_AT_ONCE_MAX: Final = 16
ORDERS_MAX: Final = 4
"""To stop and to go on. Who was told to stop is told nothing more until it has."""
EXIT_GRACE_S: Final = 0.2
"""Between the end of the pipe and the kill, so that a process that dies by itself can say how."""
REASON_CHARS_MAX: Final = 1_000
ANSWERS_BYTES_MAX: Final = 8 << 20
"""What may wait to be read by a process that asks and asks."""


Order = Literal["stop", "resume"]


class Keeper(Protocol):
    def keep_result(self, payload: Inline | Parcel, job: str) -> Payload: ...

    def hold(self, more_bytes: int) -> None: ...


class WorkerLife:
    """One worker from its start to its end. `running_on` says what a worker runs at this moment."""

    def __init__(
        self,
        number: int,
        config: Execution,
        objects: Keeper,
        running_on: Callable[[int], Task | None],
        serve_line: Serve,
        node_call: Callable[[str, str, object], Awaitable[object]],
        listener: Listener,
        feeder: Feeder,
        overseer: Overseer,
        failed: boundary.Failed = boundary.log,
    ) -> None:
        self.number = number
        self._config = config
        self._objects = objects
        self._running_on = running_on
        self._node_call = node_call
        self.listener = listener
        self.feeder = feeder
        self._overseer = overseer
        self._of_task = boundary.Boundary("what a task has asked", failed, PotluckError)
        self._of_worker = boundary.Boundary("what a worker has said", failed, RemoteProtocolError)
        self._process: WorkerProcess | None = None
        self._passed: LimitExceeded | None = None
        self._scope = trio.CancelScope()
        self._order, self._orders = trio.open_memory_channel[Order](ORDERS_MAX)
        self._outbox = ParcelOutbox()
        self._lines = Lines(serve_line, self._outbox)
        self._calls = 0
        self._answers_bytes = 0
        """Of answers, since everything that was sent had been taken."""
        self._frames = FROM_WORKER.frames()
        self._held_bytes = 0
        """Of a long frame, what takes of the memory that this node lends."""
        self._how = "it was stopped"
        self._end: events.WorkerGone | events.WorkerNotStarted = events.WorkerNotStarted(number, "it was stopped")

    async def run(
        self,
        start: Callable[[], Awaitable[WorkerProcess]],
        starting: trio.CapacityLimiter,
        tell: Callable[[events.Event], None],
    ) -> None:
        """Returns when the process and all it started are gone; `end` says how. `starting`: how many may at once."""
        with self._scope:
            await trio.lowlevel.checkpoint_if_cancelled()
            try:
                async with starting:
                    process = await start()
            except SandboxUnavailable as error:
                self._end = events.WorkerNotStarted(self.number, str(error))
                return
            self._process = process
            try:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, process)
                    nursery.start_soon(self._obey, process, tell)
                    tell(events.WorkerStarted(self.number, process.guarantees))
                    nursery.start_soon(self.feeder.run, process)
                    nursery.start_soon(self._oversee, process, nursery.cancel_scope)
                    nursery.start_soon(self.listener.run, process, lambda: self._catch_up(process, tell, nursery))
                    self._how = await self._read(process, tell, nursery)
                    nursery.cancel_scope.cancel()
            finally:
                self._hold(0)
                with trio.CancelScope(shield=True):
                    output = self.listener.lost(process)
                    passed = self._passed or self._overseer.look(process)
                    await process.kill()
                    self._end = events.WorkerGone(self.number, self._how, *output, passed=passed)

    def end(self) -> events.WorkerGone | events.WorkerNotStarted:
        return self._end

    def kill(self) -> None:
        if self._process is not None:  # of many at once, the last would run until all others are seen to
            self._process.begin_to_kill()
        self._scope.cancel()

    def bind(self, cores: Sequence[int]) -> None:
        """It has started."""
        assert self._process is not None
        self._process.bind(cores)

    def stop(self) -> None:
        self._order.send_nowait("stop")

    def resume(self) -> None:
        self._order.send_nowait("resume")

    async def _obey(self, process: WorkerProcess, tell: Callable[[events.Event], None]) -> None:
        """One order after the other."""
        try:
            async for order in self._orders:
                if order == "resume":
                    await process.resume()
                else:
                    await process.stop()
                    tell(events.WorkerStopped(self.number))
        except LinkLost:
            pass  # the reader sees the end too, and says how

    def send(self, messages: list[events.Sent], parcels: Mapping[int, Parcel]) -> None:
        assert self._process is not None, "what has not started is sent nothing"
        try:
            self._overseer.task_comes(self._process)
            for place, message in enumerate(messages):
                self._outbox.put(TO_WORKER.encode(message), parcels.get(place))
        except LocalProtocolError:
            self.kill()  # longer than any pipe takes: the task is lost with its worker, and its master told so

    async def _oversee(self, process: WorkerProcess, scope: trio.CancelScope) -> None:
        self._passed = await self._overseer.run(process)
        scope.cancel()

    async def _write(self, process: WorkerProcess) -> None:
        try:
            await self._outbox.run(process)
        except LinkLost:
            pass  # the reader sees the end too, and says how

    async def _read(self, process: WorkerProcess, tell: Callable[[events.Event], None], nursery: trio.Nursery) -> str:
        """How the process ended."""
        try:
            while chunk := await process.receive_some():
                with self._of_worker:
                    self._take(chunk, process, tell, nursery)
        except RemoteProtocolError as error:
            return f"it broke the protocol: {error}"
        except InternalError as error:
            return str(error)
        with trio.move_on_after(EXIT_GRACE_S):
            return await process.wait()
        return "it closed its pipe"

    def _catch_up(self, process: WorkerProcess, tell: Callable[[events.Event], None], nursery: trio.Nursery) -> None:
        """Takes what has come, whoever else waits for it."""
        try:
            if chunk := process.receive_ready():
                with self._of_worker:
                    self._take(chunk, process, tell, nursery)
        except (RemoteProtocolError, InternalError) as error:
            self._how = str(error) if isinstance(error, InternalError) else f"it broke the protocol: {error}"
            nursery.cancel_scope.cancel()

    def _take(
        self, chunk: bytes, process: WorkerProcess, tell: Callable[[events.Event], None], nursery: trio.Nursery
    ) -> None:
        self._frames.feed(chunk)
        replies: list[events.Reply] = []
        while (body := self._frames.next_body()) is not None:
            self._hold(0)  # what is whole takes its own room where it is kept
            message = FROM_WORKER.decode(body)
            if isinstance(message, TaskFinished):
                self._lines.end()
                if replies and message.value is not None and message.value.size_bytes > INLINE_BYTES_MAX:
                    tell(events.WorkerReplied(self.number, replies))  # so that it is kept for its own job
                    replies = []
                replies.append(self._reply(process, message))
                continue
            if replies:  # whatever else it says, the next task does
                tell(events.WorkerReplied(self.number, replies))
                replies = []
            self._hear(message, tell, nursery)
        if replies:
            tell(events.WorkerReplied(self.number, replies))
        self._hold(self._frames.pending_bytes)

    def _hold(self, pending_bytes: int) -> None:
        """Raises RemoteProtocolError where the node has no room for what has come of a long frame."""
        held_bytes = pending_bytes if pending_bytes > CONTROL_FRAME_BYTES_MAX else 0
        if held_bytes != self._held_bytes:
            try:
                self._objects.hold(held_bytes - self._held_bytes)
            except LimitExceeded as error:
                raise RemoteProtocolError(f"it says {held_bytes} bytes at once, and {error}") from error
            self._held_bytes = held_bytes

    def _hear(self, message: FromWorker, tell: Callable[[events.Event], None], nursery: trio.Nursery) -> None:
        """From the running task."""
        if isinstance(message, NodeCall):
            self._called(message, nursery)
        elif isinstance(message, LineSaid):
            task = self._running_on(self.number)
            if task is not None and task.key == message.task:
                self._lines.said(message, task, nursery)
        elif isinstance(message, TaskSaves):
            tell(events.Saved(self.number, message.task, message.state, message.pickled))
        elif isinstance(message, TaskWaits):
            tell(events.Waits(self.number, message.task, message.turn))
        elif isinstance(message, TaskWants):
            tell(events.Wants(self.number, message.task, message.turn))
        else:
            raise RemoteProtocolError("it said twice that it is ready")

    def _reply(self, process: WorkerProcess, message: TaskFinished) -> events.Reply:
        fault, kept, no_room = message.fault, None, False
        if (passed := self._overseer.ended(process, message)) is not None:
            fault = _fault(passed)
        elif message.value is not None:
            try:
                kept = self._kept(process, message.value)
            except LimitExceeded as error:
                fault = _fault(error)
            except OutOfMemory as error:
                fault, no_room = _fault(error), True
        return events.Reply(
            message.task,
            kept if fault is None else None,
            fault,
            message.pickled,
            message.elapsed_s,
            *self.listener.ended(process, message.stdout_end, message.stderr_end),
            with_files=message.with_files,
            no_room=no_room,
        )

    def _kept(self, process: WorkerProcess, value: Inline | Attached) -> Payload:
        """Raises RemoteProtocolError for a parcel that is none, LimitExceeded for what is too long, OutOfMemory where
        there is no room now."""
        payload = process.claim(value.size_bytes) if isinstance(value, Attached) else value
        if payload.size_bytes > self._config.result_bytes_max:
            raise LimitExceeded(f"a result of {payload.size_bytes} bytes; {self._config.result_bytes_max} may be")
        if isinstance(payload, Inline) and payload.size_bytes <= INLINE_BYTES_MAX:
            return payload
        running = self._running_on(self.number)
        return self._objects.keep_result(payload, "" if running is None else running.job.name)

    def _called(self, call: NodeCall, nursery: trio.Nursery) -> None:
        """Raises RemoteProtocolError once too many answers lie unread."""
        if self._outbox.is_empty:
            self._answers_bytes = 0
        if self._answers_bytes > ANSWERS_BYTES_MAX:
            raise RemoteProtocolError("it asks and does not read the answers")
        if len(call.arguments) > CONTROL_FRAME_BYTES_MAX:  # before they are opened: what they hold may be larger yet
            self._answer(_refusal(call, LimitExceeded(f"a question of {len(call.arguments)} bytes to the node")))
        elif self._calls >= CALLS_AT_ONCE_MAX:
            self._answer(_refusal(call, LimitExceeded("too many questions to the node at once")))
        else:
            self._calls += 1
            nursery.start_soon(self._ask_node, call)

    async def _ask_node(self, call: NodeCall) -> None:
        try:
            with self._of_task:
                task = self._running_on(self.number)
                if task is None:
                    raise NotAllowed("no task runs here")
                arguments = values.decode_bytes(call.arguments, arrays=False)
                answer = NodeAnswer(
                    call.request, values.encode_bytes(await self._node_call(task.job.name, call.operation, arguments))
                )
        except PotluckError as error:
            answer = _refusal(call, error)
        self._calls -= 1
        self._answer(answer)

    def _answer(self, answer: NodeAnswer) -> None:
        frame = TO_WORKER.encode(answer)
        self._answers_bytes += len(frame)
        self._outbox.put(frame)


def _fault(error: PotluckError) -> Fault:
    return Fault(error.wire_code, str(error))


def _refusal(call: NodeCall, error: PotluckError) -> NodeAnswer:
    return NodeAnswer(call.request, code=error.wire_code, reason=str(error)[:REASON_CHARS_MAX])
