"""`ports.Sandbox` in virtual time: a worker that speaks the pipe's own frames and takes as long as its tasks say.

A program is the source of plain functions, run in this process, so a simulation runs only what it was given itself.
A task says what it costs by calling `spend(seconds)`; its value is computed at once and reported when that time has
passed. Nothing runs by itself: whoever reads from the worker carries it forward.
"""

from __future__ import annotations

import contextlib
import io
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final

import msgspec
import trio

from ..node.inside.reports import fault_of, outcome_of
from ..overlay.bell import Bell
from ..overlay.errors import BadProgram, LinkLost, RemoteProtocolError, SandboxUnavailable
from ..overlay.parcels import Parcel
from ..overlay.ports import NO_ACCESS, OUTPUT_PART_BYTES, Access
from ..overlay.wire import values, worker
from ..overlay.wire.capabilities import Guarantees
from ..overlay.wire.limits import Limits
from ..overlay.wire.work import Fault, Inline

START_S: Final = 0.03
"""What a warm worker takes to start, as measured for real ones."""
TASK_S: Final = 0.0001
"""The least a task takes."""
ALL_GUARANTEES: Final = Guarantees(True, True, True, True, True, True, True, True, True)


class _Program(msgspec.Struct):
    message: worker.LoadProgram
    functions: dict[str, Any] | None = None


class _Clock:
    """What the running task has spent so far."""

    def __init__(self) -> None:
        self.spent_s = 0.0

    def spend(self, seconds: float) -> None:
        self.spent_s += max(0.0, float(seconds))


class _Printed:
    """A stream of output: a pipe with room for everything."""

    def __init__(self) -> None:
        self.bytes_ever = 0
        self._unread = bytearray()
        self._changed = Bell()
        self._ended = False

    def write(self, text: str) -> None:
        data = text.encode()
        self.bytes_ever += len(data)
        self._unread += data
        self._changed.ring()

    def end(self) -> None:
        self._ended = True
        self._changed.ring()

    async def arrived(self) -> bool:
        await trio.lowlevel.checkpoint()
        while not (self._unread or self._ended):
            await self._changed.heard()
        return bool(self._unread)

    def read(self) -> bytes:
        data = bytes(self._unread[:OUTPUT_PART_BYTES])
        del self._unread[:OUTPUT_PART_BYTES]
        return data


class VirtualWorker:
    """A `ports.WorkerProcess`."""

    def __init__(self, on_end: Callable[[VirtualWorker], None], on_task: Callable[[], None]) -> None:
        self._on_end = on_end
        self._on_task = on_task
        self._frames = worker.TO_WORKER.frames()
        self._programs: dict[int, _Program] = {}
        self._queue: deque[worker.RunTask] = deque()
        self._finished: bytes | None = None
        """What the running task will say, once `_due_s` has come."""
        self._due_s = math.inf
        self._left_s: float | None = None
        """Of the running task, while all is stopped."""
        self._output = _Printed(), _Printed()
        self._changed = Bell()
        self._ended = trio.Event()

    @property
    def guarantees(self) -> Guarantees:
        return ALL_GUARANTEES

    def send_now(self, data: bytes | bytearray | memoryview, parcels: Sequence[Parcel] = ()) -> bool:
        """Nobody sends parcels here: a simulated machine keeps no memory files."""
        if self._ended.is_set():
            raise LinkLost("the worker has ended")
        self._frames.feed(data)
        while (body := self._frames.next_body()) is not None:
            self._take(worker.TO_WORKER.decode(body))
        self._begin()
        self._changed.ring()
        return True

    def claim(self, size_bytes: int) -> Parcel:
        raise RemoteProtocolError("a simulated worker sends no parcels")

    async def flush(self) -> None:
        await trio.lowlevel.checkpoint()

    def _take(self, message: object) -> None:
        if isinstance(message, worker.LoadProgram):
            self._programs[message.program] = _Program(message)
        elif isinstance(message, worker.RunTask):
            self._queue.append(message)
        elif isinstance(message, worker.WithdrawTasks):
            withdrawn = frozenset(message.tasks)
            self._queue = deque(task for task in self._queue if task.task not in withdrawn)

    def _begin(self) -> None:
        """The next task, if none runs."""
        if self._finished is None and self._queue and self._left_s is None:
            finished = self._run(self._queue.popleft())
            self._due_s = trio.current_time() + finished.elapsed_s
            self._finished = worker.FROM_WORKER.encode(finished)

    async def receive_some(self) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._ended.is_set():
            if said := self.receive_ready():
                return said
            with trio.move_on_at(self._due_s):
                await self._changed.heard()
        return b""

    def receive_ready(self) -> bytes:
        if self._finished is None or self._due_s > trio.current_time():
            return b""
        said, self._finished, self._due_s = self._finished, None, math.inf
        self._begin()
        return said

    def _run(self, task: worker.RunTask) -> worker.TaskFinished:
        self._on_task()
        clock = _Clock()
        value, fault = None, None
        printed = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed[0]), contextlib.redirect_stderr(printed[1]):
            try:
                value, _, fault = outcome_of(self._value(task, clock), may_pickle=False)
            except _Unloadable as error:
                fault = Fault(BadProgram.wire_code, str(error))
            except BaseException as error:  # noqa: BLE001 - a task's end, whatever it raised, is the task's alone
                fault = fault_of(_without_our_frames(error))
        for stream, file in zip(self._output, printed, strict=True):
            stream.write(file.getvalue())
        ends = [stream.bytes_ever for stream in self._output]
        return worker.TaskFinished(task.task, value, fault, False, TASK_S + clock.spent_s, ends[0], ends[1])

    def _value(self, task: worker.RunTask, clock: _Clock) -> object:
        program = self._programs[task.program]
        arguments = values.decode(worker.opened(task.arguments))
        if program.message.form == "kind":
            return arguments
        if program.functions is None:
            program.functions = _load(program.message)
        program.functions["spend"] = clock.spend
        function = program.functions.get(program.message.entry)
        if not callable(function):
            raise _Unloadable(f"the program has no function {program.message.entry!r}")
        match arguments:
            case [list(positional), dict(named)]:
                return function(*positional, **named)
        raise _Unloadable("the arguments of a function are [args, kwargs]")

    async def output_arrived(self, stream: int) -> bool:
        return await self._output[stream - 1].arrived()

    def read_output(self, stream: int) -> bytes:
        return self._output[stream - 1].read()

    async def send_input(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()  # what a virtual worker runs reads nothing

    def end_input(self) -> None:
        pass

    async def wait(self) -> str:
        await self._ended.wait()
        return "killed by SIGKILL"

    def bind(self, cores: Sequence[int]) -> None:
        """Nor does it matter where."""

    def limit(self, limits: Limits) -> None:
        """A virtual worker uses nothing but time."""

    def usage(self) -> None:
        return None

    async def stop(self) -> None:
        await self._check_lives()
        if self._left_s is None:
            self._left_s = self._due_s - trio.current_time()
            self._due_s = math.inf

    async def resume(self) -> None:
        await self._check_lives()
        if self._left_s is not None:
            self._due_s = trio.current_time() + self._left_s
            self._left_s = None
            self._begin()
            self._changed.ring()

    async def _check_lives(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._ended.is_set():
            raise LinkLost("the worker has ended")

    def begin_to_kill(self) -> None:
        pass

    async def kill(self) -> None:
        if not self._ended.is_set():
            self._ended.set()
            self._changed.ring()
            for stream in self._output:
                stream.end()
            self._on_end(self)
        await trio.lowlevel.checkpoint()


class _Unloadable(Exception):
    """The program is not one that can run here."""


def _load(message: worker.LoadProgram) -> dict[str, Any]:
    if message.form != "function":
        raise _Unloadable(f"a virtual worker runs functions and kinds, not a {message.form}")
    namespace: dict[str, Any] = {"__name__": "task", "spend": _Clock().spend}
    try:
        code = compile(worker.opened(message.body).data, message.file_name or "task.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise _Unloadable(f"{message.file_name or 'task.py'}: {error}") from error
    exec(code, namespace)  # noqa: S102 - the simulation's own source; no stranger's bytes reach a virtual worker
    return namespace


def _without_our_frames(error: BaseException) -> BaseException:
    frames = error.__traceback__
    while frames is not None and frames.tb_frame.f_code.co_filename == __file__:
        frames = frames.tb_next
    return error.with_traceback(frames)


class VirtualSandbox:
    """A `ports.Sandbox` that says it is as strong as the backend it names, so that nodes admit what they would there.

    `workers` are those that live, for whoever wants to know that none is left behind.
    """

    takes_parcels = False
    opens_network = True

    def __init__(self, backend: str = "bubblewrap", on_task: Callable[[], None] = lambda: None) -> None:
        self._backend = backend
        self._on_task = on_task
        self.workers: list[VirtualWorker] = []
        self.started = 0
        self.broken = False
        """From now on nothing starts."""

    @property
    def backend(self) -> str:
        return self._backend

    @property
    def guarantees(self) -> Guarantees:
        return ALL_GUARANTEES

    async def start(self, access: Access = NO_ACCESS) -> VirtualWorker:
        await trio.sleep(START_S)
        if self.broken:
            raise SandboxUnavailable("this machine starts no processes")
        process = VirtualWorker(self.workers.remove, self._on_task)
        self.workers.append(process)
        self.started += 1
        return process


def encoded_call(*args: object, **kwargs: object) -> Inline:
    """The arguments of a task of form `function`."""
    return values.encode([list(args), kwargs])
