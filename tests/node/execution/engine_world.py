"""A toy node around the execution engine: carries out its effects and keeps count of what must hold."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from potluck.node.execution import events
from potluck.node.execution.engine import Engine
from potluck.node.execution.intake import Place
from potluck.node.lending.quotas import Quotas
from potluck.node.resources.grants import Grants
from potluck.node.resources.slots import Slots
from potluck.node.scheduling.catalogue import make
from potluck.overlay.config import Execution, Quota
from potluck.overlay.parcels import Parcel
from potluck.overlay.wire.capabilities import Guarantees
from potluck.overlay.wire.streams import TaskOutput
from potluck.overlay.wire.work import (
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Program,
    Started,
    TasksSought,
)
from potluck.overlay.wire.worker import LoadProgram, RunTask, TaskGoesOn, WarmUp, WithdrawTasks

OWN, OTHER = b"own-owner", b"other-owner"
MASTERS = {b"master-0": OWN, b"master-1": OTHER, b"master-2": OWN}


def program(letter: str, body: Any, libraries: str = "") -> Program:
    """One of capital letter is a library; others use a package that takes long to import."""
    needed = [library.encode() * 32 for library in libraries]
    if letter.isupper():
        return Program(letter.encode() * 32, "library", body=body, libraries=needed)
    return Program(letter.encode() * 32, "callable", body=body, libraries=needed, modules=["numpy"])


@dataclass
class Process:
    """What a worker process does, as far as the engine can tell."""

    sandbox: int
    ready: bool = False
    killed: bool = False
    stopped: bool = False
    """Told to stop, and not to go on since."""
    stopping: bool = False
    """It has not answered yet."""
    queue: list[RunTask] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)
    libraries: int = 0
    """Of those loaded."""
    owner_and_job: tuple[bytes, str] | None = None
    state: str = "running"
    """Of the task at the head of its queue, as the process sees it."""
    turn: int = 0
    gpus: tuple[int, ...] = ()
    cores: tuple[int, ...] = ()


class World:
    """Carries out the engine's effects and holds every confirmation against what was assigned."""

    def __init__(
        self,
        slots: int = 2,
        places: tuple[bool, ...] = (True,),
        config: Execution | None = None,
        policy: str = "fcfs",
        cores: int | None = None,
        lent_bytes: int = 0,
        gpus: int = 0,
        quota: Quota | None = None,
    ) -> None:
        self.now_s = 100.0
        self.slots = slots
        self.quotas = Quotas(quota or Quota())
        self.grants = Grants(lent_bytes, gpus, self.quotas.rules.memory_bytes)
        self.engine = Engine(
            config or Execution(pipe_window_max=8),
            make(policy),
            slots=Slots(slots, range(slots if cores is None else cores)),
            grants=self.grants,
            quotas=self.quotas,
            places=[Place(for_others) for for_others in places],
            own_owner=OWN,
        )
        self.processes: dict[int, Process] = {}
        self.fetches: list[int] = []
        self.open: dict[tuple[bytes, str, int], int] = {}
        """Attempt of each (owner, job, index) that is owed a confirmation."""
        self.finished: Counter[tuple[bytes, str, int, int]] = Counter()
        self.reports: list[Any] = []
        self.ran: dict[int, Finished] = {}
        """What has begun and ended here, by the numbers of processes."""
        self.said: list[TaskOutput] = []
        self.let_go: list[tuple[Parcel, int]] = []
        """Beside each, how much had been reported by then."""
        self.task_jobs: dict[int, tuple[bytes, str]] = {}
        self.step(events.Tick())

    def step(self, event: events.Event) -> list[Any]:
        before = len(self.reports)
        for effect in self.engine.step(self.now_s, event):
            getattr(self, "_" + type(effect).__name__.lower())(effect)
        self.engine.check()
        return self.reports[before:]

    def _startworker(self, effect: events.StartWorker) -> None:
        assert effect.worker not in self.processes
        self.processes[effect.worker] = Process(effect.sandbox, gpus=effect.opens.gpus)

    def _bindworker(self, effect: events.BindWorker) -> None:
        process = self.processes[effect.worker]
        assert process.ready
        process.cores = effect.cores

    def _killworker(self, effect: events.KillWorker) -> None:
        process = self.processes[effect.worker]
        assert not process.killed
        process.killed = True

    def _stopworker(self, effect: events.StopWorker) -> None:
        process = self.processes[effect.worker]
        assert process.ready and not process.stopped
        process.stopped = process.stopping = True

    def _resumeworker(self, effect: events.ResumeWorker) -> None:
        process = self.processes[effect.worker]
        assert process.stopped and not process.stopping
        process.stopped = False

    def stopping(self) -> list[int]:
        return [number for number, process in self.processes.items() if process.stopping and not process.killed]

    def stands_still(self, number: int) -> list[Any]:
        self.processes[number].stopping = False
        return self.step(events.WorkerStopped(number))

    def _send(self, effect: events.Send) -> None:
        process = self.processes[effect.worker]
        assert process.ready
        for message in effect.messages:
            if isinstance(message, LoadProgram):
                assert message.program not in process.loaded
                process.loaded.append(message.program)
                process.libraries += message.form == "library"
            elif isinstance(message, WithdrawTasks):
                process.queue = [task for task in process.queue if task.task not in message.tasks]
            elif isinstance(message, WarmUp):
                assert process.owner_and_job is None, "only spares wait"
            elif isinstance(message, TaskGoesOn):
                assert process.state == "resuming" and message.turn == process.turn, "only who wants a slot gets one"
                process.state = "running"
            else:
                assert message.program in process.loaded
                job = self.job_of(message.task)
                assert process.owner_and_job in (None, job), "one job of one owner, and what it submits"
                process.owner_and_job = job
                process.queue.append(message)

    def job_of(self, key: int) -> tuple[bytes, str]:
        for (owner, _name), job in self.engine.jobs.items():
            if any(task.key == key for task in job.tasks.values()):
                return owner, job.root
        raise AssertionError("an unknown task was sent")

    def _fetch(self, effect: events.Fetch) -> None:
        self.fetches.append(effect.fetch)

    def _say(self, effect: events.Say) -> None:
        self.said.append(effect.message)

    def _roomforoutput(self, effect: events.RoomForOutput) -> None:
        assert effect.worker in self.processes

    def _ended(self, effect: events.Ended) -> None:
        for task, report in effect.runs:
            assert task.begun_s is not None
            assert task.process.number not in self.ran, "every run ends once"
            self.ran[task.process.number] = report

    def _letgo(self, effect: events.LetGo) -> None:
        self.let_go.extend((parcel, len(self.reports)) for parcel in effect.parcels)

    def _feed(self, effect: events.Feed) -> None:
        assert effect.worker in self.processes

    def _instructionbegins(self, effect: events.InstructionBegins) -> None:
        pass

    def _confirm(self, effect: events.Confirm) -> None:
        owner = MASTERS[effect.assigner]
        for report in effect.message.reports:
            key = (owner, effect.message.job, report.index)
            self.reports.append(report)
            if isinstance(report, Started):
                continue
            if isinstance(report, Finished):
                if not self.finished[*key, report.attempt]:
                    assert self.open.pop(key) == report.attempt, "finished once, and only what was owed"
                self.finished[*key, report.attempt] += 1
            else:
                assert self.open.pop(key) == report.attempt, "returned once, and only what was owed"

    def assign(
        self, master: bytes, job: str, indexes: list[int], *, attempt: int = 0, letter: str = "p", **options: Any
    ) -> list[Any]:
        owner = MASTERS[master]
        arguments = options.pop("arguments", Inline(b"arguments"))
        body = options.pop("body", Inline(b"body"))
        for index in indexes:
            if not any(self.finished[owner, job, index, later] for later in range(attempt, 10)):
                self.open[owner, job, index] = max(attempt, self.open.get((owner, job, index), 0))
        message = InstructionAssignment(
            job,
            options.pop("epoch", 1),
            program(letter, body, options.pop("libraries", "")),
            [Instruction(index, arguments, attempt=attempt) for index in indexes],
            **options,
        )
        return self.step(events.Assigned(master, owner, message))

    def seek(self, master: bytes, job: str, epoch: int) -> list[int]:
        """What that master, another one than before, is told to be here. What has not begun is owed no more."""
        owner = MASTERS[master]
        known = self.engine.jobs.get((owner, job))
        begun = {} if known is None else {task.index: task.begun_s is not None for task in known.tasks.values()}
        self.step(events.Sought(master, owner, TasksSought(0, job, epoch)))
        for key in [key for key in self.open if key[:2] == (owner, job)]:
            if begun.get(key[2]):
                self.open[key] = 0
            else:
                del self.open[key]
        for finished in [finished for finished in self.finished if finished[:2] == (owner, job)]:
            del self.finished[finished]
        held = self.engine.orphans.held(master, owner, job)
        self.finished.update((owner, job, index, 0) for index in held if index not in begun)
        return held

    def starting(self) -> list[int]:
        return [number for number, process in self.processes.items() if not process.ready]

    def ready(self) -> None:
        """All that start, and those that start when these have."""
        while starting := self.starting():
            for number in starting:
                self.start(number)

    def start(self, number: int) -> list[Any]:
        process = self.processes[number]
        if process.killed:
            return self.end(number)
        process.ready = True
        return self.step(events.WorkerStarted(number, Guarantees(time=True)))

    def end(self, number: int, how: str = "killed by SIGKILL") -> list[Any]:
        process = self.processes.pop(number)
        if process.ready:
            return self.step(events.WorkerGone(number, how, b"out", b"err"))
        return self.step(events.WorkerNotStarted(number, how))

    def reply(self, number: int, count: int = 1, elapsed_s: float = 1e-5, **fields: Any) -> list[Any]:
        process = self.processes[number]
        done, process.queue = process.queue[:count], process.queue[count:]
        process.state = "running"
        fields.setdefault("value", Inline(b"value"))
        replies = [events.Reply(task.task, elapsed_s=elapsed_s, **fields) for task in done]
        return self.step(events.WorkerReplied(number, replies))

    def busy(self) -> list[int]:
        return [number for number, process in self.processes.items() if process.queue and not process.killed]

    def advance(self, seconds: float) -> list[Any]:
        self.now_s += seconds
        return self.step(events.Tick())
