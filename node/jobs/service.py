"""Shell of the master: links, membership, this node's own execution and its clients on one side, the engine on the
other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final, Protocol, TypeGuard

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.clock import MeshTime
from ...overlay.config import Config
from ...overlay.errors import LimitExceeded, LinkLost, NotFound, OutOfMemory, WorkerLost
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.membership.detector import Changed
from ...overlay.membership.service import Membership
from ...overlay.ports import Entropy
from ...overlay.wire.capabilities import Capabilities, LoadReport
from ...overlay.wire.codec import Message
from ...overlay.wire.control import JobOptions, NodeReports, TaskSpec
from ...overlay.wire.kinds import label_of
from ...overlay.wire.work import (
    CancelInstructions,
    ExecutionConfirmation,
    Fault,
    Finished,
    Inline,
    Instruction,
    InstructionAssignment,
    Program,
    Reference,
    Report,
    TaskComplete,
    TasksHeld,
    TasksSought,
)
from ..objects import Objects
from .batches import checkpoint_bytes, cut, payload_bytes, report_bytes
from .effects import Assign, CancelAt, Drop, Effect, Note, Release, Tell
from .history import Course, History
from .master import Master
from .placement import Worker
from .tasks import Origin

logger = logging.getLogger("potluck.node")

_TICK_S: Final = 0.5
_ROOM_PATIENCE_S: Final = 300.0
Sink = Callable[[str, list[NodeReports]], None]
"""Takes a job's reports for its submitter; must not wait."""


class OwnExecution(Protocol):
    """This node as a worker of its own jobs: it is given the very messages that others are sent."""

    def assign(self, assignment: InstructionAssignment) -> None: ...

    def cancel(self, message: CancelInstructions) -> None: ...

    def complete(self, message: TaskComplete) -> None: ...

    def seek(self, message: TasksSought) -> TasksHeld: ...


class Turns(Protocol):
    def turn(self, size_bytes: int) -> AbstractAsyncContextManager[None]: ...


class Jobs:
    def __init__(
        self,
        config: Config,
        identity: Identity,
        links: Links,
        membership: Membership,
        objects: Objects,
        entropy: Entropy,
        mesh_time: MeshTime,
        history: History,
    ) -> None:
        self._identity = identity
        self._links = links
        self._membership = membership
        self._objects = objects
        self._entropy = entropy
        self._mesh_time = mesh_time
        self.history = history
        self._courses: dict[str, Course] = {}
        self._background = Background()
        self._told = trio.lowlevel.ParkingLot()
        self._coming_home: set[tuple[str, int]] = set()
        """Tasks whose long result is being fetched."""
        self._sinks: dict[str, Sink] = {}
        self._labels: dict[tuple[str, int], str] = {}
        self._own: OwnExecution | None = None
        self.holds_back: Callable[[Assign], bool] = lambda assign: False
        """Whether an assignment is sent later, by `begin`."""
        self.noted: Callable[[Note], None] = lambda note: None
        """Called with what whoever succeeds this node as a job's master should know of a task."""
        self.may_pass_on: Callable[[str], bool] = lambda job: False
        """Whether a job that is not open here may have another master by now, or be about to get one."""
        self.turns: Callable[[str], Turns | None] = lambda job: None
        """In which a job's long results are accepted; None where it is always their turn."""
        self.master: Master
        self._config = config
        links.up.append(self._link_up)
        links.down.append(self._link_down)
        membership.unheard.append(self._unheard)
        membership.observers.append(self._member_changed)
        membership.load_observers.append(self._load_reported)
        links.on(ExecutionConfirmation, self._confirmed)

    async def run(
        self,
        own: OwnExecution,
        capabilities: Capabilities,
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Places work until cancelled. `capabilities` are this node's own."""
        self.master = Master(self._config.jobs, capabilities.python, self._entropy.stream("placement"))
        self.history.load()
        self._own = own
        identity = self._identity
        here = Worker(identity.node_id, identity.name, identity.boot_id, capabilities, own=True, here=True)
        self._perform(self.master.worker_up(trio.current_time(), here))
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            task_status.started()
            while True:
                await trio.sleep(_TICK_S)
                self._listen_for_the_unheard()
                self._perform(self.master.tick(trio.current_time()))

    # Submitters

    def open(
        self,
        options: JobOptions,
        sink: Sink,
        job_id: str = "",
        epoch: int = 1,
        origin: Origin | None = None,
        *,
        on_hold: bool = False,
    ) -> str:
        """A job that lasts comes with its name and the epoch of its master's seat, one of a task with its origin. What
        is on hold waits for `resume`."""
        job_id = job_id or self._entropy.token(8).hex()
        self._sinks[job_id] = sink
        self.master.open(job_id, options, epoch, self._mesh_time.now_s(), origin, on_hold=on_hold)
        self._courses[job_id] = Course()
        return job_id

    def submit(self, job_id: str, program: Program, specs: Sequence[TaskSpec]) -> None:
        """Raises NotFound for a job that is not open, or a program without its body."""
        if program.form == "kind":
            self._label(job_id, specs)
        if isinstance(program.body, Inline):
            # A long program travels once to each worker, and not in a control frame.
            body = self._objects.keep(program.body, job_id)
            program = msgspec.structs.replace(program, body=body)
        arrived, missing = self._split(specs)
        self._perform(self.master.submit(trio.current_time(), job_id, program, arrived))
        if missing:
            self._refuse(job_id, missing)

    def adopt(self, job_id: str, node_id: NodeId, indexes: Sequence[int]) -> None:
        """What that node holds of the job, it holds for this master."""
        self._perform(self.master.adopt(job_id, node_id, indexes))

    def resume(self, job_id: str, begun: Mapping[int, str]) -> None:
        """What was on hold goes on. `begun`: what must not run twice, and why it is lost if nobody holds it."""
        self._perform(self.master.resume(trio.current_time(), job_id, begun))

    def release(self, node_id: NodeId, job_id: str, epoch: int) -> None:
        """The job is over for this worker, which has it from an earlier master."""
        self._send(node_id, TaskComplete(job_id, epoch))

    def seek_here(self, message: TasksSought) -> TasksHeld:
        """What this node, as its own worker, holds of a job."""
        assert self._own is not None
        return self._own.seek(message)

    def _split(self, specs: Sequence[TaskSpec]) -> tuple[list[TaskSpec], list[TaskSpec]]:
        """Those whose arguments are here, and those whose upload found no room."""
        arrived: list[TaskSpec] = []
        missing: list[TaskSpec] = []
        for spec in specs:
            lies_here = isinstance(spec.arguments, Inline) or self._objects.get(spec.arguments.object_id) is not None
            (arrived if lies_here else missing).append(spec)
        return arrived, missing

    def _refuse(self, job_id: str, specs: Sequence[TaskSpec]) -> None:
        error = OutOfMemory("the arguments do not fit into the memory that this node lends")
        fault = Fault(error.wire_code, str(error))
        self._tell(Tell(job_id, None, [Finished(spec.index, 0, fault=fault) for spec in specs]))

    def bind(self, job_id: str, index: int, node_id: NodeId, name: str) -> None:
        """Once this node returns the task, it goes on at the one named. Raises NotFound, NotAllowed, NoWorker."""
        self.master.bind(job_id, index, node_id, name)

    def cancel(self, job_id: str, indexes: Iterable[int]) -> None:
        self._perform(self.master.cancel(trio.current_time(), job_id, indexes))

    def close(self, job_id: str, *, passed_on: bool = False) -> None:
        """`passed_on`: what runs of it is its next master's."""
        self._told.unpark_all()
        self._remember(job_id)
        effects = self.master.close(trio.current_time(), job_id, passed_on=passed_on)
        self._sinks.pop(job_id, None)
        self._labels = {key: label for key, label in self._labels.items() if key[0] != job_id}
        self._objects.table.release(job_id)
        self._perform(effects)

    def _remember(self, job_id: str) -> None:
        """What anybody may know of it afterwards. What its tasks submit is part of what they do; of a job that lasts
        its log tells, once it is over."""
        course, job = self._courses.pop(job_id, None), self.master.jobs.get(job_id)
        if job is None or job.origin is not None or job.options.lasting:
            return
        if course is not None and job.total and not job.options.confidential:
            self.history.add(course.past(job, self._mesh_time.now_s()))

    async def finished(self) -> None:
        """Returns when programs wait here for nothing any more."""
        while any(job.tasks and not job.options.lasting for job in self.master.jobs.values()):
            await self._told.park()

    # Workers

    def has_given(self, job_id: str, node_id: NodeId) -> bool:
        """Whether that node has been given work of a job of this node's."""
        job = self.master.jobs.get(job_id)
        return job is not None and node_id in job.at

    def own_confirmed(self, confirmation: ExecutionConfirmation) -> None:
        self._take(self._identity.node_id, confirmation)

    def own_load(self, load: LoadReport) -> None:
        self._perform(self.master.load_reported(trio.current_time(), self._identity.node_id, load))

    def _confirmed(self, link: Link, message: Message) -> None:
        assert isinstance(message, ExecutionConfirmation)
        self._take(link.peer.node_id, message)

    def _take(self, node_id: NodeId, confirmation: ExecutionConfirmation) -> None:
        if confirmation.leaving:
            self.master.leaves(node_id)
            return
        if confirmation.job not in self.master.jobs and self.may_pass_on(confirmation.job):
            return  # whoever is its master next asks for it
        self._log_confirmed(node_id, confirmation)
        job, epoch = confirmation.job, confirmation.epoch
        near = []
        for report in confirmation.reports:
            if self._is_far(report, job):
                self._take_far(node_id, job, epoch, report)
            else:
                near.append(report)
        self._perform(self.master.confirmed(trio.current_time(), node_id, job, epoch, near))

    def _take_far(self, node_id: NodeId, job: str, epoch: int, report: Finished) -> None:
        if self._awaits(node_id, job, epoch, report.index):
            if (job, report.index) in self._coming_home:
                return
            self._coming_home.add((job, report.index))
            self._background.start(self._bring_home, node_id, job, epoch, report)

        elif (known := self.master.jobs.get(job)) is not None and known.epoch == epoch:
            assert isinstance(report.value, Reference)
            if not known.holds(report.index) and node_id == report.value.holder != self._identity.node_id:
                self._objects.done_with(report.value)  # another copy of the task was first

    def _awaits(self, node_id: NodeId, job_id: str, epoch: int, index: int) -> bool:
        """Whether that node's answer would be taken."""
        job = self.master.jobs.get(job_id)
        return job is not None and job.epoch == epoch and job.is_given(index, node_id)

    def _is_far(self, report: Report, job: str) -> TypeGuard[Finished]:
        """Whether its value is to be brought here, or waits for its turn."""
        value = report.value if isinstance(report, Finished) else None
        if not isinstance(value, Reference):
            return False
        return value.holder != self._identity.node_id or self.turns(job) is not None

    async def _bring_home(self, node_id: NodeId, job: str, epoch: int, report: Finished) -> None:
        """A long result is accepted when it is here: one that lies at its worker would be lost with it."""
        assert isinstance(report.value, Reference)
        try:
            turns = self.turns(job)
            async with nullcontext() if turns is None else turns.turn(report.value.size_bytes):
                object_id = report.value.object_id
                was_here = self._objects.table.get(object_id) is not None
                report = await self._come_home(report, report.value, job)
                if not (was_here or self._awaits(node_id, job, epoch, report.index)):
                    self._objects.table.drop(object_id)  # another copy was faster, or the job is over
                self._perform(self.master.confirmed(trio.current_time(), node_id, job, epoch, [report]))
        finally:
            self._coming_home.discard((job, report.index))

    async def _come_home(self, report: Finished, value: Reference, job: str) -> Finished:
        try:
            return msgspec.structs.replace(report, value=await self._brought_home(value, job))
        except LimitExceeded as error:
            full = OutOfMemory(f"the result does not fit into the memory that this node lends: {error}")
            return Finished(report.index, report.attempt, fault=Fault(full.wire_code, str(full)))
        except (LinkLost, NotFound) as error:
            lost = WorkerLost(f"its result was lost: {error}")
            return Finished(report.index, report.attempt, fault=Fault(lost.wire_code, str(lost)))

    async def _brought_home(self, reference: Reference, job: str) -> Reference:
        """There is room once its program has taken what came before. Raises as `bring_home`."""
        if reference.holder == self._identity.node_id:
            return reference
        until_s = trio.current_time() + _ROOM_PATIENCE_S
        while True:
            freed = self._objects.freed
            try:
                return await self._objects.bring_home(reference, job)
            except LimitExceeded:
                in_vain = not self._objects.table.could_hold(reference.size_bytes) or job not in self.master.jobs
                if in_vain or trio.current_time() >= until_s:
                    raise
            with trio.move_on_at(until_s):
                await freed.wait()

    def _link_up(self, link: Link) -> None:
        peer = link.peer
        own = peer.owner_id == self._identity.owner_id
        worker = Worker(peer.node_id, peer.name, peer.boot_id, peer.capabilities, own=own, here=False)
        known = self._membership.loads.known.get(peer.node_id)
        if known is not None:
            worker.closed = known.report.closed
        self._perform(self.master.worker_up(trio.current_time(), worker))

    def _link_down(self, link: Link) -> None:
        if not link.ended_in_order:  # else it was one too many, and is there again when it is wanted
            self.master.apart(trio.current_time(), link.peer.node_id)

    def _unheard(self, node_id: NodeId) -> None:
        self.master.apart(trio.current_time(), node_id)

    def _listen_for_the_unheard(self) -> None:
        for node_id, worker in list(self.master.workers.items()):
            if worker.apart_since_s is None:
                continue
            if (link := self._links.get(node_id)) is None:
                self._membership.reach(node_id)
            elif link.last_heard_s > worker.apart_since_s:
                self._perform(self.master.heard(trio.current_time(), node_id))

    def _member_changed(self, change: Changed) -> None:
        if change.event in ("died", "left"):
            node_id = change.member.node_id
            self._perform(self.master.worker_gone(trio.current_time(), node_id, change.event))

    def _load_reported(self, node_id: NodeId) -> None:
        known = self._membership.loads.known.get(node_id)
        if known is not None:
            self._perform(self.master.load_reported(trio.current_time(), node_id, known.report))

    # Effects

    def _perform(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Assign():
                    if not self.holds_back(effect):
                        self._assign(effect)
                case CancelAt(node_id, message) | Release(node_id, message):
                    self._send(node_id, message)
                case Tell():
                    self._tell(effect)
                case Note():
                    self.noted(effect)
                case Drop(objects):
                    for object_id in objects:
                        self._objects.table.drop(object_id)

    def begin(self, assign: Assign) -> None:
        """What was held back may begin, as far as it is still to be done there."""
        assignment = assign.assignment
        job = self.master.jobs.get(assignment.job)
        if job is None or job.epoch != assignment.epoch:
            return
        due = [
            one
            for one in assignment.instructions
            if (task := job.tasks.get(one.index)) is not None
            and (task.node, task.attempt) == (assign.node_id, one.attempt)
        ]
        self._assign(Assign(assign.node_id, msgspec.structs.replace(assignment, instructions=due)))

    def _assign(self, assign: Assign) -> None:
        self._log_assigning(assign.node_id, assign.assignment)
        for part in _parts(assign.assignment):
            self._send(assign.node_id, part)

    def _send(self, node_id: NodeId, message: Message) -> None:
        if node_id == self._identity.node_id:
            self._send_here(message)
        elif (link := self._links.get(node_id)) is None:
            self._membership.reach(node_id)
        else:  # lost with the link, it is given again when the node is back, and to others when it is dead
            link.tell(message)

    def _send_here(self, message: Message) -> None:
        assert self._own is not None
        match message:
            case InstructionAssignment():
                self._own.assign(message)
            case CancelInstructions(unbegun_only=True):
                self._own.cancel(message)
            case CancelInstructions():
                self._background.start(self._cancel_here, message)
            case TaskComplete():
                self._own.complete(message)

    async def _cancel_here(self, message: CancelInstructions) -> None:
        """Others hear of theirs first: to end what runs takes all the processors there are. After one turn of everybody
        else, those who write to links have begun theirs; after two it is written."""
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        assert self._own is not None
        self._own.cancel(message)

    def _tell(self, tell: Tell) -> None:
        if self._told:
            self._told.unpark_all()
        sink = self._sinks.get(tell.job)
        if sink is None:
            return
        name, own = "", True
        if tell.node_id is not None:
            worker = self.master.workers.get(tell.node_id)
            member = worker or self._membership.get(tell.node_id)
            name = member.name if member is not None else tell.node_id.hex()[:8]
            own = worker is not None and worker.own
        if (course := self._courses.get(tell.job)) is not None:
            course.saw(name, tell.reports)
        for part in cut(tell.reports, report_bytes):
            sink(tell.job, [NodeReports(name, own, part)])

    # The log of work by kind, in the words of its protocol

    def _label(self, job_id: str, specs: Sequence[TaskSpec]) -> None:
        for spec in specs:
            self._labels[job_id, spec.index] = label_of(spec.arguments)

    def _log_assigning(self, node_id: NodeId, assignment: InstructionAssignment) -> None:
        if assignment.program.form == "kind" and node_id != self._identity.node_id:
            name = self.master.workers[node_id].name
            logger.info("Node %s assigning tasks to peer %s", self._identity.name, name)

    def _log_confirmed(self, node_id: NodeId, confirmation: ExecutionConfirmation) -> None:
        if not self._labels:
            return
        worker = self.master.workers.get(node_id)
        for report in confirmation.reports:
            label = self._labels.get((confirmation.job, report.index))
            if label is not None and worker is not None and isinstance(report, Finished):
                logger.info("Master received confirmation for %s from %s", label, worker.name)


def _instruction_bytes(one: Instruction) -> int:
    return payload_bytes(one.arguments) + checkpoint_bytes(one.checkpoint)


def _parts(assignment: InstructionAssignment) -> Iterator[InstructionAssignment]:
    """That each fit into a frame; the program's body goes with the first."""
    if len(assignment.instructions) <= 1:
        yield assignment
        return
    program = assignment.program
    for part in cut(assignment.instructions, _instruction_bytes):
        yield msgspec.structs.replace(assignment, program=program, instructions=part)
        if program.body is not None:
            program = msgspec.structs.replace(program, body=None)
