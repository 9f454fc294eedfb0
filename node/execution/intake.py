"""The part of the execution engine that takes what masters assign: from its arrival until it can be run.

A task waits here for what has to be fetched, its arguments or its program, and then joins the policy's queue.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from ...overlay.config import Execution
from ...overlay.errors import (
    NotAllowed,
    NotFound,
    NoWorker,
    PotluckError,
    QuotaExceeded,
    SandboxUnavailable,
    Unavailable,
)
from ...overlay.wire.limits import Limits
from ...overlay.wire.needs import Needs
from ...overlay.wire.work import (
    ExecutionConfirmation,
    Inline,
    Instruction,
    InstructionAssignment,
    Program,
    Reference,
    Report,
)
from ..processes.process import Origin, Process, State
from ..processes.types import ProcessType
from ..scheduling.times import Times
from .account import Account
from .answers import forgotten, returned, started
from .events import Assigned, Confirm, Effect, Fetch, Fetched
from .kinds import KindPrograms
from .outgoing import Outgoing
from .pool import WorkerPool
from .streaming import Streaming
from .tasks import Job, Lease, Numbers, ProgramState, Task, Worker, is_current

OWNER_CHARS: Final = 12
"""Of an owner's id, for people."""


class Place(msgspec.Struct, frozen=True):
    """A sandbox of this node, in order of preference."""

    for_others: bool
    opens_network: bool = False
    lacks: str = ""
    """Which guarantees, beside its name, for whoever may not run there."""
    cuts_network: bool = False


class Places:
    """Which of this node's sandboxes tasks run in."""

    def __init__(self, places: Sequence[Place], own_owner: bytes, here: bytes, config: Execution) -> None:
        self._own_owner = own_owner
        self._here = here
        self._network = config.network
        self._most_own = Limits(memory_bytes=config.own_memory_bytes)
        self._most_others = Limits(memory_bytes=config.others_memory_bytes)
        self._all = tuple(places)
        self._own = 0 if places else None
        self._others = next((number for number, place in enumerate(places) if place.for_others), None)

    @property
    def lacking(self) -> str:
        """Why none of them is for others: what the best of them does not guarantee."""
        return "".join(f": {place.lacks}" for place in self._all[:1] if place.lacks)

    @property
    def used(self) -> list[int]:
        return sorted({place for place in (self._own, self._others) if place is not None})

    def is_own(self, owner: bytes) -> bool:
        return owner == self._own_owner

    def cut_network(self, sandbox: int | None) -> bool:
        return sandbox is not None and self._all[sandbox].cuts_network

    def lets_use_network(self, job: Job) -> bool:
        whose = ("own", "all") if self.is_own(job.owner) and self.is_own(job.whose) else ("all",)
        return self._network in whose and job.sandbox is not None and self._all[job.sandbox].opens_network

    def is_here(self, assigner: bytes) -> bool:
        return assigner == self._here

    def is_from_elsewhere(self, job: Job) -> bool:
        return not self.is_here(job.assigner) or not (self.is_own(job.owner) and self.is_own(job.whose))

    def most_for(self, owner: bytes, whose: bytes) -> Limits:
        return self._most_own if self.is_own(owner) and self.is_own(whose) else self._most_others

    def sandbox_for(self, owner: bytes, whose: bytes) -> int | None:
        """For work that a node of `owner` gives out, in the name of `whose`."""
        return self._own if self.is_own(owner) and self.is_own(whose) else self._others


class Intake:
    """Effects are appended to `effects`, which the engine owns."""

    def __init__(
        self,
        ready: Callable[[float, Task], None],
        pool: WorkerPool,
        account: Account,
        streaming: Streaming,
        numbers: Numbers,
        places: Places,
        effects: list[Effect],
    ) -> None:
        self.handlers = KindPrograms(None, numbers)
        self.uses_modules: Callable[[Sequence[str]], None] = lambda names: None
        """Told of every new program that refers to installed modules."""
        self.jobs: dict[tuple[bytes, str], Job] = {}
        self.closed = False
        """The node leaves: nothing new is taken."""
        self.refusal: Callable[[Job], PotluckError | None] = lambda job: None
        """Why the machine's owner does not want this job's tasks now."""
        self.is_full: Callable[[], bool] = lambda: False
        """Whether there is no room for results."""
        self._ready = ready
        self._pids = Numbers()
        self._pool = pool
        self._account = account
        self._streaming = streaming
        self._numbers = numbers
        self._places = places
        self._effects = effects
        self._fetches: dict[int, Task | ProgramState] = {}
        self._leases: dict[tuple[bytes, bytes, str], Lease] = {}
        """By who gives out the job, whose it is, and the job it comes from."""

    def assigned(self, now_s: float, event: Assigned) -> None:
        message = event.message
        job = self._job_of(event)
        if job is None:
            self._turn_down(event)
            return
        refusal = self._refusal(now_s, job)
        program = None if refusal else self._program_of(job, message)
        is_unsaid = job.outgoing is not None and job.outgoing.is_unsaid
        if is_unsaid or (job.is_followed and any(self._knows(job, one) for one in message.instructions)):
            self._streaming.again(job)
        for instruction in message.instructions:
            if self._answered_already(now_s, job, instruction):
                continue
            if message.known_only:
                self._account.report(job, forgotten(instruction.index, instruction.attempt))
                continue
            if refusal is not None or program is None:
                reason = refusal or NotFound("the program is not here")
                self._account.report(job, returned(instruction.index, instruction.attempt, reason))
            else:
                self._take(now_s, job, program, message, instruction)

    def _job_of(self, event: Assigned) -> Job | None:
        """None where its master has been followed by another."""
        message = event.message
        key = event.owner, message.job
        job = self.jobs.get(key)
        if job is None:
            job = self.jobs[key] = self._new_job(event)
        if job.is_outranked(event.assigner, message.epoch):
            return None
        if job.obey(event.assigner, message.epoch):
            self._account.tell_again(job)
        return job

    def _turn_down(self, event: Assigned) -> None:
        """It may be mistaken, or else we are, and hear so soon: of two nodes, the one may have gone on alone."""
        message, why = event.message, Unavailable("another master of the job is obeyed there")
        reports: list[Report] = [returned(one.index, one.attempt, why) for one in message.instructions]
        if reports:
            self._effects.append(Confirm(event.assigner, ExecutionConfirmation(message.job, message.epoch, reports)))

    def _new_job(self, event: Assigned) -> Job:
        message, owner = event.message, event.owner
        whose = message.owner or owner
        sandbox = self._places.sandbox_for(owner, whose)
        lineage = message.lineage
        job = Job(owner, message.job, event.assigner, message.epoch, sandbox, whose, lineage)
        if message.streams_output:
            job.outgoing = Outgoing(message.job, int(self._account.now_s * 1e6), lasting=message.lasting)
        job.takes_input = message.takes_input
        job.at_most_once = message.at_most_once
        job.network = message.network
        job.lasting = message.lasting
        job.confidential = message.confidential and self._places.is_here(event.assigner)
        meter = self._account.meter
        job.purse = whose if meter.memory_bytes and not meter.is_free(job) else b""
        job.needs = self._needs_of(job, message)
        said = message.limits.memory_bytes and not job.purse
        asked = Limits(memory_bytes=0 if said else job.needs.memory_bytes)
        job.limits = message.limits.within(asked).within(self._places.most_for(owner, whose))
        job.origin = Origin(
            job.name,
            message.process_type or ProcessType.USER.value,
            whose.hex()[:OWNER_CHARS],
            "" if lineage is None else lineage.parent,
            job.root,
            network_bytes=0 if self._places.cut_network(sandbox) and not job.network else None,
        )
        if message.takes_input:
            job.lease = Lease(used_once=True)
        else:
            job.lease = self._leases.setdefault((owner, whose, job.root), job.lease)
        job.lease.jobs += 1
        return job

    def _needs_of(self, job: Job, message: InstructionAssignment) -> Needs:
        """Where each owner has so much memory, who says nothing has a share of it."""
        needs = message.needs
        if job.purse and not needs.memory_bytes:
            share = message.limits.memory_bytes or self._account.meter.memory_share(self._pool.slots.count)
            needs = msgspec.structs.replace(needs, memory_bytes=share)
        return needs

    def leave(self, job: Job) -> list[Worker]:
        """It is over here. Those who served it and have nobody left to serve."""
        del self.jobs[job.owner, job.name]
        return self._let_go(job)

    def _let_go(self, job: Job) -> list[Worker]:
        lease = job.lease
        lease.jobs -= 1
        if lease.jobs:
            return []
        key = job.owner, job.whose, job.root
        if self._leases.get(key) is lease:
            del self._leases[key]
        return list(lease.workers.values())

    def _alone(self, job: Job) -> None:
        """Its tasks find an environment of their own: nobody else's may run in it."""
        self._let_go(job)
        job.lease = Lease(jobs=1, used_once=job.takes_input)

    def _refusal(self, now_s: float, job: Job) -> PotluckError | None:
        if self.closed and not self._is_awaited_here(job):
            return NoWorker("the node leaves")
        if (refusal := self.refusal(job)) is not None:
            return refusal
        if self.is_full() and not job.depth:  # whoever has submitted the others waits for them
            return Unavailable("results that nobody has fetched fill the memory that is lent")
        slots, grants, meter = self._pool.slots, self._account.grants, self._account.meter
        if job.purse and job.needs.memory_bytes > meter.memory_bytes:
            return QuotaExceeded(f"its owner lends each of the others {meter.memory_bytes} bytes of memory")
        if not slots.count:
            return NoWorker("the node lends no slots")
        if not (slots.could_ever_fit(job.needs.cpus) and grants.could_ever_fit(job.needs)):
            return NoWorker("the node does not lend as much to anybody")
        if job.network and not self._places.lets_use_network(job):
            return NotAllowed("its owner does not let the task use the network")
        if job.sandbox is None:
            return SandboxUnavailable(f"this node has no sandbox for tasks of other owners{self._places.lacking}")
        starts = self._pool.starts[job.sandbox]
        return SandboxUnavailable(starts.reason) if starts.given_up(now_s) and not job.lease.is_served else None

    def _is_awaited_here(self, job: Job) -> bool:
        """By a task from the same root: the node does not leave without that."""
        return job.depth > 0 and any(other.root == job.root and other.depth < job.depth for other in self.jobs.values())

    def _program_of(self, job: Job, message: InstructionAssignment) -> ProgramState | None:
        program = message.program
        state = job.programs.get(program.program_id) or self._new_program(job, program)
        if state is not None:
            job.programs[program.program_id] = job.lease.programs[program.program_id] = state
        return state

    def _new_program(self, job: Job, program: Program) -> ProgramState | None:
        """None without its body, or what it needs."""
        known = job.lease.programs.get(program.program_id)
        if program.form == "kind":
            return known or self.handlers.program_for(program)
        if program.body is None or any(library not in job.programs for library in program.libraries):
            return None
        if program.form == "setting":
            self._alone(job)
        elif known is not None:
            return known
        if program.modules:
            self.uses_modules(program.modules)
        libraries = tuple(job.programs[library] for library in program.libraries)
        body = program.body if isinstance(program.body, Inline) else None
        state = ProgramState(self._numbers.next(), program, body, libraries)
        if isinstance(program.body, Reference):
            self._fetch(state, program.body)
        return state

    def _knows(self, job: Job, instruction: Instruction) -> bool:
        return instruction.index in job.tasks or instruction.index in job.reports

    def _answered_already(self, now_s: float, job: Job, instruction: Instruction) -> bool:
        known = job.reports.get(instruction.index)
        if known is not None and known.attempt >= instruction.attempt:
            if known.attempt == instruction.attempt:
                self._account.report(job, known)
            return True
        task = job.tasks.get(instruction.index)
        if task is None:
            return False
        if task.attempt >= instruction.attempt:
            if task.noticed and task.attempt == instruction.attempt:
                self._account.report(job, started(now_s, task))
            return True
        self._account.drop(task)
        return False

    def _take(
        self, now_s: float, job: Job, program: ProgramState, message: InstructionAssignment, instruction: Instruction
    ) -> None:
        arguments = instruction.arguments
        task = Task(
            self._numbers.next(),
            job,
            program,
            instruction.index,
            instruction.attempt,
            arguments if isinstance(arguments, Inline) else None,
            message.priority,
            message.timeout_s,
            message.trust_results or self._places.is_own(job.owner),
            Process(self._pids.next(), Times(now_s), job.origin, instruction.index, message.priority),
            job.depth,
            estimate_s=message.estimate_s,
            checkpoint=instruction.checkpoint,
        )
        job.tasks[task.index] = task
        self._account.opened(task)
        if instruction.checkpoint is not None:
            task.process.checkpoints = instruction.checkpoint.number
        if instruction.suspended:
            task.process.move(now_s, State.SUSPENDED)
            task.noticed = True
            self._account.report(job, started(now_s, task))
        if isinstance(arguments, Reference):
            self._fetch(task, arguments)
        else:
            self._queue_if_complete(now_s, task)

    # What has to be fetched first

    def _fetch(self, wanted: Task | ProgramState, reference: Reference) -> None:
        number = self._numbers.next()
        self._fetches[number] = wanted
        self._effects.append(Fetch(number, reference))

    def fetched(self, now_s: float, event: Fetched) -> None:
        wanted = self._fetches.pop(event.fetch)
        if isinstance(wanted, Task):
            if not is_current(wanted):
                return
            if isinstance(event.result, PotluckError):
                self._account.give_back(wanted, event.result)
            else:
                wanted.arguments = event.result
                self._queue_if_complete(now_s, wanted)
            return
        waiting, wanted.waiting = [task for task in wanted.waiting if is_current(task)], []
        if not isinstance(event.result, PotluckError):
            wanted.body = event.result
        for task in waiting:
            if isinstance(event.result, PotluckError):
                task.job.forget_program(wanted)
                self._account.give_back(task, event.result)
            else:
                self._queue_if_complete(now_s, task)

    def _queue_if_complete(self, now_s: float, task: Task) -> None:
        if (missing := task.program.missing) is not None:
            missing.waiting.append(task)
        elif task.arguments is not None:
            self._complete(now_s, task)

    def _complete(self, now_s: float, task: Task) -> None:
        if task.process.state is State.SUSPENDED:
            task.was_ready = True
        else:
            self._ready(now_s, task)
