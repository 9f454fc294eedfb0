"""A node's control socket without a node: answers as told, so that a test can have what a real node rarely does."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import cloudpickle
from potluck.client.connection import Connection
from potluck.client.dialling import greet
from potluck.overlay import parcels
from potluck.overlay.wire import control, values
from potluck.overlay.wire.codec import Message
from potluck.overlay.wire.control import TO_NODE, TO_PROGRAM
from potluck.overlay.wire.layout import decode_inline, encode_inline
from potluck.overlay.wire.work import Fault, Finished, Inline, Program, Reference, Started

NODE_ID = bytes(range(20))


class Double:
    """The node's end of one socket pair. `on_task` says what becomes of a task; by default it is run, here."""

    def __init__(self) -> None:
        self.ours, self.theirs = socket.socketpair()
        self._arrivals = parcels.Arrivals(self.ours)
        self.hands_over = False
        """Long results go as parcels."""
        self.received: list[Message] = []
        self.submitted: list[tuple[str, control.TaskSpec]] = []
        self.on_task: Callable[[str, control.TaskSpec], None] = self.run
        self.refuse_jobs: int | None = None
        self.own = True
        self.arrived = threading.Condition()
        self.programs: dict[tuple[str, bytes], Program] = {}
        self.last_program: dict[tuple[str, int], Program] = {}
        self.objects: dict[bytes, bytearray] = {}
        self._jobs = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def die(self) -> None:
        """As a process that is killed: the program finds out by its own socket."""
        try:
            self.ours.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # it is dead already

    def stop(self) -> None:
        self.die()
        if self._thread.ident:
            self._thread.join(5)
        self.ours.close()
        self.theirs.close()

    def say(self, message: Message) -> None:
        self.ours.sendall(TO_PROGRAM.encode(message))

    def report(self, job: str, *reports: Started | Finished) -> None:
        self.say(control.TaskReports(job, [control.NodeReports("double", self.own, list(reports))]))

    def run(self, job: str, task: control.TaskSpec) -> None:
        function = cloudpickle.loads(self.inline(self.last_program[job, task.index].body).data)
        arguments = self.inline(task.arguments)
        args, kwargs = cloudpickle.loads(arguments.data, buffers=arguments.buffers)
        try:
            value = values.encode(function(*args, **kwargs))
        except Exception as error:  # noqa: BLE001
            name = f"{type(error).__module__}.{type(error).__qualname__}"
            fault = Fault(41, str(error), name, "Traceback: there", values.encode_bytes(list(error.args)))
            self.report(job, Finished(task.index, 0, fault=fault))
        else:
            self.report(job, Finished(task.index, 0, value=value, elapsed_s=1e-5))

    def inline(self, payload: Inline | Reference | None) -> Inline:
        assert payload is not None
        return payload if isinstance(payload, Inline) else decode_inline(bytes(self.objects[payload.object_id]))

    def keep(self, inline: Inline) -> Reference:
        object_id = len(self.objects).to_bytes(16, "big")
        data = self.objects[object_id] = bytearray(encode_inline(inline))
        return Reference(object_id, len(data), NODE_ID)

    def wait_for(self, condition: Callable[[], bool]) -> None:
        with self.arrived:
            assert self.arrived.wait_for(condition, 10), "the program did not say what was expected"

    def _serve(self) -> None:
        frames = TO_NODE.frames()
        while True:
            try:
                chunk = self._arrivals.receive(1 << 18)
            except OSError:
                return
            if not chunk:
                return
            frames.feed(chunk)
            while (body := frames.next_body()) is not None:
                message = TO_NODE.decode(body)
                self.received.append(message)  # before the answer: who has that may look here at once
                try:
                    self._answer(message)
                except OSError:
                    return
                with self.arrived:
                    self.arrived.notify_all()

    def _answer(self, message: Message) -> None:
        match message:
            case control.Greeting():
                self.say(control.Welcome(control.CONTROL_VERSION, "double", NODE_ID, 2))
            case control.OpenJob() if self.refuse_jobs is not None:
                self.say(control.Failure(message.request, self.refuse_jobs, "no jobs here"))
            case control.OpenJob():
                self._jobs += 1
                self.say(control.Answer(message.request, json.dumps({"job": f"job-{self._jobs}"}).encode()))
            case control.PutPart():
                self.objects.setdefault(message.object_id, bytearray()).extend(message.data)
            case control.PutParcel():
                self.objects[message.object_id] = bytearray(self._arrivals.claim(message.size_bytes).whole())
            case control.GetObject() if self.hands_over:
                parcel = parcels.seal(decode_inline(bytes(self.objects[message.reference.object_id])))
                said = control.ObjectParcel(message.request, parcel.size_bytes)
                parcels.send_all(self.ours, TO_PROGRAM.encode(said), [parcel])
            case control.GetObject():
                data = bytes(self.objects[message.reference.object_id])
                for start in range(0, len(data), 500_000):
                    part = data[start : start + 500_000]
                    self.say(control.ObjectBytes(message.request, start, len(data), part))
            case control.Submit():
                self._submit(message)
            case control.CancelTasks():
                fault = Fault(43, "cancelled")
                self.report(message.job, *(Finished(index, 0, fault=fault) for index in message.indexes))
            case _:
                pass

    def _submit(self, message: control.Submit) -> None:
        key = message.job, message.program.program_id
        if message.program.body is not None:
            assert key not in self.programs, "the body of a program is sent once per job"
            self.programs[key] = message.program
        for task in message.tasks:
            self.last_program[message.job, task.index] = self.programs[key]
            self.submitted.append((message.job, task))
            self.on_task(message.job, task)


@contextmanager
def double_node() -> Iterator[tuple[Double, Connection]]:
    double = Double()
    double.start()
    connection = Connection(lambda: greet(double.theirs))
    connection.start()
    try:
        yield double, connection
    finally:
        connection.close()
        double.stop()


def socket_path(folder: Path) -> Path:
    return folder / "control.sock"
