"""Shell of the execution engine: its workers' pipes on one side, the masters that assign work on the other."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from typing import Final, Protocol

import trio

from ...overlay import boundary
from ...overlay.bell import Bell
from ...overlay.config import Execution
from ...overlay.errors import BadProgram, PotluckError
from ...overlay.parcels import Parcel
from ...overlay.ports import Access, Host, Sandbox
from ...overlay.threads import beside
from ...overlay.wire.kinds import Handlers, label_of
from ...overlay.wire.processes import Act
from ...overlay.wire.streams import InputPart, InputWanted, OutputTaken, TaskOutput
from ...overlay.wire.work import (
    CancelInstructions,
    ExecutionConfirmation,
    Finished,
    Inline,
    InstructionAssignment,
    Payload,
    Reference,
    Report,
    TaskComplete,
    TasksSought,
)
from ..capabilities import FOR_OTHERS
from ..lending.lending import Act as LendingAct
from ..lending.quotas import Quotas
from ..resources.grants import Grants
from ..resources.slots import Slots
from ..scheduling.policy import Policy
from . import events
from .answers import returned
from .engine import Engine
from .feeding import Feeder
from .intake import Place
from .lines import Serve, TaskLine
from .listening import Listener
from .overseeing import Attention, Overseer
from .pool import Load
from .suspending import can_be
from .tasks import Task
from .workers import WorkerLife

logger: Final = logging.getLogger("potluck.node")

STARTS_AT_ONCE_MAX: Final = 8
"""Of worker processes. Hundreds at once would all be too slow to be ready in time."""
_LOAD_PAUSE_S: Final = 0.05
"""Short tasks come and go faster than anybody can make use of."""


class Assigner(Protocol):
    """Who gave this node work and is told what became of it."""

    def confirm(self, confirmation: ExecutionConfirmation) -> None:
        """Never blocks; keeps the order, also with what is said."""

    def say(self, message: TaskOutput | InputWanted) -> None: ...


class Objects(Protocol):
    """Payloads too long for a message."""

    async def fetch(self, reference: Reference) -> Inline | Parcel:
        """Raises LinkLost, NotFound and other errors of ours."""

    def keep_result(self, payload: Inline | Parcel, job: str) -> Payload:
        """The payload itself if it is small. Raises LimitExceeded for what is too long, OutOfMemory where there is no
        room now."""

    def hold(self, more_bytes: int) -> None:
        """So much more of a long frame is here than was, or less. Raises LimitExceeded where there is no room."""

    @property
    def is_full(self) -> bool:
        """Of results that nobody has fetched."""


NodeCall = Callable[[str, str, object], Awaitable[object]]
"""What a running task asks its node: its job, the operation, plain arguments. Raises errors of our tree."""


class ExecutionService:
    """Runs what it is assigned. Everything but `run` and `drained` returns at once."""

    def __init__(
        self,
        config: Execution,
        *,
        slots: int,
        lent_bytes: int,
        policy: Policy[Task],
        sandboxes: Sequence[Sandbox],
        own_owner: bytes,
        here: bytes = b"",
        objects: Objects,
        node_name: str,
        mesh_time_s: Callable[[], float],
        node_call: NodeCall,
        host: Host,
        quotas: Quotas,
        handlers: Handlers | None = None,
        failed: boundary.Failed = boundary.log,
    ) -> None:
        self.load_changed: Callable[[], None] = lambda: None
        """Called when the number of busy slots or of waiting tasks has changed, and not for every task of many."""
        self.ended: Sequence[Callable[[list[tuple[Task, Finished]]], None]] = ()
        """Called with what has run here, and how it ended."""
        self.serve_line: Serve = _refuse_line
        """Serves a task that talks with this node as a program does."""
        self._host = host
        self._installed_before = host.installed()
        self._config = config
        self._sandboxes = sandboxes
        self._objects = objects
        self._name = node_name
        self._mesh_time_s = mesh_time_s
        self._node_call = node_call
        self._failed = failed
        places = [
            Place(one.backend in FOR_OTHERS, one.opens_network, _lacks(one), cuts_network=one.guarantees.network)
            for one in sandboxes
        ]
        self._engine = Engine(
            config,
            policy,
            slots=Slots(slots, host.cores),
            grants=Grants(lent_bytes, len(host.gpus), quotas.rules.memory_bytes),
            quotas=quotas,
            places=places,
            own_owner=own_owner,
            here=here,
            handlers=handlers,
        )
        self._engine.begin_nothing_while(lambda: objects.is_full)
        self._assigners: dict[bytes, Assigner] = {}
        self._workers: dict[int, WorkerLife] = {}
        self._starting = trio.CapacityLimiter(STARTS_AT_ONCE_MAX)
        self._attention = Attention()
        self._events: deque[events.Event] = deque()
        self._stepping = False
        self._nursery: trio.Nursery | None = None
        self._deadline = trio.CancelScope()
        self._nothing_left = trio.lowlevel.ParkingLot()
        self._stirred = Bell()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Until cancelled; then every worker is killed and gone."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._step(events.Tick())
            nursery.start_soon(self._watch_load)
            task_status.started()
            await self._watch_deadlines()

    # Masters

    def assign(self, assigner_id: bytes, owner: bytes, assigner: Assigner, assignment: InstructionAssignment) -> None:
        """`owner` is the assigner's, from its certificate."""
        self._assigners[assigner_id] = assigner
        if (owner, assignment.job) not in self._engine.jobs:
            self._look_at_installed()
        if assignment.program.form == "kind" and logger.isEnabledFor(logging.INFO):
            texts = [label_of(instruction.arguments) for instruction in assignment.instructions]
            logger.info("Node %s received instructions: %s", self._name, texts)
        program = assignment.program
        if program.modules and (missing := [name for name in program.modules if not self._host.has_module(name)]):
            reason = f"it lacks the Python package{'s' * (len(missing) > 1)} {', '.join(missing)}"
            self._return_all(assigner, assignment, BadProgram(reason))
        else:
            self._step(events.Assigned(assigner_id, owner, assignment))

    def _look_at_installed(self) -> None:
        """When a job begins: its tasks are to find what is there now."""
        if (now := self._host.installed()) != self._installed_before:
            self._installed_before = now
            self._step(events.Installed())

    def _return_all(self, assigner: Assigner, assignment: InstructionAssignment, why: PotluckError) -> None:
        reports: list[Report] = [returned(one.index, one.attempt, why) for one in assignment.instructions]
        assigner.confirm(ExecutionConfirmation(assignment.job, assignment.epoch, reports))

    def cancel(self, assigner_id: bytes, message: CancelInstructions) -> None:
        self._step(events.CancelAsked(assigner_id, message))

    def output_shown(self, assigner_id: bytes, message: OutputTaken) -> None:
        self._step(events.OutputShown(assigner_id, message))

    def input_came(self, assigner_id: bytes, message: InputPart) -> None:
        self._step(events.InputCame(assigner_id, message))

    def complete(self, assigner_id: bytes, message: TaskComplete) -> None:
        self._step(events.JobCompleted(assigner_id, message))

    def seek(self, assigner_id: bytes, owner: bytes, assigner: Assigner, message: TasksSought) -> list[int]:
        """What of the job is here, now that this is its master."""
        self._assigners[assigner_id] = assigner
        self._step(events.Sought(assigner_id, owner, message))
        return self._engine.orphans.held(assigner_id, owner, message.job)

    def orphans(self) -> list[tuple[bytes, str]]:
        """Owners and names of jobs without a master of which something is here."""
        return [(job.owner, job.name) for job in self._engine.orphans.all()]

    def disown(self, owner: bytes, job: str) -> None:
        """It will get none."""
        self._step(events.Disowned(owner, job))

    def forsake(self) -> None:
        """This node is banned: of jobs whose masters it loses it keeps nothing for others."""
        self._step(events.Forsaken())

    def outlaw(self, owners: Collection[bytes]) -> None:
        """They are banned: what runs for them ends."""
        self._step(events.Outlawed(frozenset(owners)))

    def serves(self, assigner_id: bytes, job: str) -> bool:
        """Whether this node holds work of that job from that master."""
        return self._engine.serves(assigner_id, job)

    def held_for(self, assigner_id: bytes) -> list[ExecutionConfirmation]:
        """What asks that master whether its jobs still go on, and what runs here in vain."""
        return self._engine.held_for(assigner_id)

    def forget(self, assigner_id: bytes) -> None:
        """The master died or left: its work is dropped."""
        self._assigners.pop(assigner_id, None)
        self._step(events.AssignerGone(assigner_id))

    def hand_back(self) -> tuple[int, int]:
        """The node leaves: what has not begun is returned, and what stands still, and nothing new is taken. How many of
        each."""
        unfinished, begun = self._engine.unfinished, self._begun()
        self._step(events.HandBack())
        stood_still = begun - self._begun()
        return unfinished - self._engine.unfinished - stood_still, stood_still

    def _begun(self) -> int:
        return sum(task.begun_s is not None for task in self._engine.processes.values())

    def give_up(self) -> None:
        """The node is about to be gone: what runs is ended and returned, too."""
        self._step(events.HandBack(begun=True))

    def running(self) -> int:
        return self._engine.running()

    def running_once(self) -> int:
        """Those that must not run twice."""
        return self._engine.running(at_most_once=True)

    async def drained(self) -> None:
        """Returns when no task is left."""
        await trio.lowlevel.checkpoint()
        while self._engine.unfinished:
            await self._nothing_left.park()

    def load(self) -> Load:
        return self._engine.load()

    def mesh_ahead_s(self) -> float:
        """What to add to a time of this process to have it as the mesh has it."""
        return self._mesh_time_s() - trio.current_time()

    def change_policy(self, policy: Policy[Task]) -> None:
        self._engine.change_policy(trio.current_time(), policy)
        self._step(events.Tick())
        self.load_changed()

    @property
    def processes(self) -> Mapping[int, Task]:
        """Every task that is here, by the number of its process, in order."""
        return self._engine.processes

    def act(self, act: Act, numbers: Sequence[int]) -> list[int]:
        """On which of them it makes a difference."""
        acted = [number for number in numbers if can_be(act, self._engine.processes[number])]
        self._step(events.ActAsked(act, acted))
        return acted

    @property
    def switches(self) -> int:
        """How often a slot was taken from what ran."""
        return self._engine.switches

    def owner_said(self, act: LendingAct, reason: str) -> None:
        """Of what comes from elsewhere."""
        self._step(events.OwnerSaid(act, reason))

    def statistics(self) -> dict[str, object]:
        """What the contract says of a policy: since this node's start."""
        return self._engine.statistics()

    # The engine

    def _step(self, event: events.Event) -> None:
        """Events that come up while effects are carried out wait their turn; all before `run` do."""
        self._events.append(event)
        if self._stepping or self._nursery is None:
            return
        self._stepping = True
        try:
            while self._events:
                self._step_once(self._nursery, self._events.popleft())
        finally:
            self._stepping = False

    def _step_once(self, nursery: trio.Nursery, event: events.Event) -> None:
        now_s = trio.current_time()
        self._engine.mesh_ahead_s = self.mesh_ahead_s()
        for effect in self._engine.step(now_s, event):
            self._perform(nursery, effect)
        deadline_s = self._engine.next_deadline_s(now_s)
        if deadline_s < self._deadline.deadline:
            self._deadline.deadline = deadline_s
        self._stirred.ring()
        if not self._engine.unfinished:
            self._nothing_left.unpark_all()

    def _perform(self, nursery: trio.Nursery, effect: events.Effect) -> None:
        if isinstance(effect, events.Send):
            self._workers[effect.worker].send(effect.messages, effect.parcels)
        elif isinstance(effect, events.Confirm):
            if (assigner := self._assigners.get(effect.assigner)) is not None:
                assigner.confirm(effect.message)
        elif isinstance(effect, events.Ended):
            for heard in self.ended:
                heard(effect.runs)
        elif isinstance(effect, events.LetGo):
            nursery.start_soon(beside, effect.parcels.clear)  # takes the system milliseconds
        elif isinstance(effect, events.Say):
            if (assigner := self._assigners.get(effect.assigner)) is not None:
                assigner.say(effect.message)
        elif isinstance(effect, events.RoomForOutput):
            self._workers[effect.worker].listener.room_again()
        elif isinstance(effect, events.Feed):
            feeder = self._workers[effect.worker].feeder
            feeder.begin() if effect.part is None else feeder.take(effect.part)
        elif isinstance(effect, events.InstructionBegins):
            if logger.isEnabledFor(logging.INFO):
                logger.info("Node %s executing: %s", self._name, label_of(effect.arguments))
        elif isinstance(effect, events.StartWorker):
            self._workers[effect.worker] = life = self._life(effect.worker)
            access = Access(tuple(self._host.gpus[number] for number in effect.opens.gpus), effect.opens.network)
            nursery.start_soon(self._live, life, self._sandboxes[effect.sandbox], access)
        elif isinstance(effect, events.KillWorker):
            self._workers[effect.worker].kill()
        elif isinstance(effect, events.StopWorker):
            self._workers[effect.worker].stop()
        elif isinstance(effect, events.ResumeWorker):
            self._workers[effect.worker].resume()
        elif isinstance(effect, events.BindWorker):
            self._workers[effect.worker].bind(effect.cores)
        else:
            nursery.start_soon(self._fetch, effect)

    async def _watch_load(self) -> None:
        told = 0, 0, 0
        while True:
            await self._stirred.heard()
            load = self._engine.load()
            if (load.busy, load.queued, load.waiting) != told:
                told = load.busy, load.queued, load.waiting
                self.load_changed()
            await trio.sleep(_LOAD_PAUSE_S)

    async def _watch_deadlines(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._engine.next_deadline_s(trio.current_time())) as self._deadline:
                await trio.sleep_forever()
            self._step(events.Tick())

    def _life(self, number: int) -> WorkerLife:
        engine = self._engine
        listener = Listener(number, self._config.output_bytes_max, engine.streaming.outgoing_of, self._step)
        feeder = Feeder(
            lambda offset: self._step(events.Hungry(number, offset)), lambda: self._step(events.Starved(number))
        )
        return WorkerLife(
            number,
            self._config,
            self._objects,
            engine.running_on,
            self.serve_line,
            self._node_call,
            listener,
            feeder,
            Overseer(
                self._attention,
                lambda: engine.running_on(number),
                listener.printed_bytes,
                lambda task, cpu_s, memory_bytes: self._step(events.Measured(number, task.key, cpu_s, memory_bytes)),
            ),
            self._failed,
        )

    async def _live(self, life: WorkerLife, sandbox: Sandbox, access: Access) -> None:
        await life.run(lambda: sandbox.start(access), self._starting, self._step)
        del self._workers[life.number]
        self._step(life.end())

    async def _fetch(self, effect: events.Fetch) -> None:
        try:
            result: Inline | Parcel | PotluckError = await self._objects.fetch(effect.reference)
        except PotluckError as error:
            result = error
        self._step(events.Fetched(effect.fetch, result))


async def _refuse_line(_line: TaskLine, _task: Task) -> None:
    await trio.lowlevel.checkpoint()


def _lacks(sandbox: Sandbox) -> str:
    lacking = [name for name, kept in sandbox.guarantees.as_dict().items() if not kept]
    return f"{sandbox.backend} does not guarantee {', '.join(lacking)}" if lacking else ""
