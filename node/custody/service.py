"""Shell of custody on one node: every lasting job that it is master or deputy of.

    nothing ──open / log of a master──▶ MASTER / DEPUTY
    DEPUTY ──master died or left, the register agrees──▶ MASTER       (the next epoch, from the log as it is here)
    MASTER ──heard of a higher epoch──▶ DEPUTY, or nothing
    start: everything on disk is DEPUTY of whoever was master, this node included; the register says who goes on

Property: of one job, two masters never show different outcomes of one task, unless it says `unfenced`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.clock import MeshTime
from ...overlay.config import Config
from ...overlay.errors import (
    NotAllowed,
    NotFound,
    PotluckError,
    QuotaExceeded,
    Refused,
    RemoteProtocolError,
    Unavailable,
    WorkerLost,
)
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId, OwnerId
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.membership.detector import Changed
from ...overlay.membership.service import Membership
from ...overlay.ports import Entropy, Store
from ...overlay.registers.service import Registers
from ...overlay.wire.codec import Message
from ...overlay.wire.control import JobOptions, NodeReports, TaskSpec
from ...overlay.wire.gossip import Status
from ...overlay.wire.joblog import Entry, JobLog, JobLogged, Opened
from ...overlay.wire.work import Fault, Finished, Inline, JobOrphaned, Payload, Program, Reference, Report, TaskComplete
from ..jobs.effects import Assign, Note
from ..jobs.history import Past
from ..jobs.service import Jobs
from ..objects import Objects
from . import telling
from .alone import Alone
from .archive import Archive, Head
from .asking import Asking
from .backlog import Backlog
from .deputies import choose
from .journal import Journal, Log
from .mastery import Mastery, Sink
from .resuming import Resuming
from .seats import Change, Seat, Seats, register_of, remove, seats_in, succeed
from .seats import take as take_seat
from .shelf import Shelf
from .story import Counts, Story, story_of
from .succession import Succession
from .volatile import Volatile

logger = logging.getLogger("potluck.node")

_LOOK_S: Final = 10.0
"""How often the logs held here are looked over: whose master is gone, and which nobody needs any more."""
_SEAL_TIMEOUT_S: Final = 30.0
_PAIR: Final = 2
_DAY_S: Final = 86_400.0


class Custody:
    def __init__(
        self,
        config: Config,
        identity: Identity,
        jobs: Jobs,
        registers: Registers,
        links: Links,
        membership: Membership,
        objects: Objects,
        store: Store,
        entropy: Entropy,
        mesh_time: MeshTime,
        owner_of: Callable[[NodeId], OwnerId | None],
    ) -> None:
        """`owner_of`: of a node that was linked once."""
        self.own_id = identity.node_id
        self.archive = Archive(store)
        self.masteries: dict[str, Mastery] = {}
        self.shelf = Shelf(
            self.archive, self, objects.fetch_bytes, bytes(identity.owner_id), config.jobs.kept_owner_bytes_max
        )
        self.backlog = Backlog()
        self._unwritten = Archive(Volatile())
        self._alone = Alone(self.own_id, self._unwritten, self.lasting, mesh_time.now_s)
        self._config = config.jobs
        self._identity = identity
        self._jobs = jobs
        self._registers = registers
        self._links = links
        self._asking = Asking(links, membership)
        self._membership = membership
        self._objects = objects
        self._entropy = entropy
        self._mesh_time = mesh_time
        self._owner_of = owner_of
        self._background = Background()
        self.succession = Succession(self, self.shelf, self.archive, self._background)
        self._resuming = Resuming(identity, jobs, links, membership, config.links)
        self.gave_way: Callable[[str], None] = lambda job: None
        """Told of jobs that have another master."""
        jobs.may_pass_on = lambda job: job in self.shelf.heads
        jobs.holds_back = self._holds_back
        jobs.noted = self._noted
        jobs.turns = self._turns
        objects.kept = self._kept
        links.on(JobLog, self._logged)
        links.on(JobOrphaned, self._orphaned)
        membership.observers.append(self._member_changed)

    async def run(self) -> None:
        self.shelf.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            for job, head in list(self.shelf.heads.items()):
                if head.master == self.own_id:
                    self.succession.begin(job)
            while True:
                await trio.sleep(_LOOK_S)
                await self._look_over()

    # Submitters

    def open(self, options: JobOptions, sink: Sink | None) -> str:
        """A new job that lasts. Raises QuotaExceeded."""
        self._check_quota(self._identity.owner_id)
        opened = Opened(self._identity.owner_id, self._identity.name, self._mesh_time.now_s(), options)
        job = self._entropy.token(8).hex()
        if options.confidential:
            mastery = Mastery(self._alone, job, Journal(Log().begun(1)), Seat(self.own_id, 1), opened)
        else:
            deputies = choose(job, [], self.candidates(self._identity.owner_id))
            mastery = Mastery(self, job, Journal(Log().begun(1)), Seat(self.own_id, 1, deputies), opened)
            mastery.first_seat = lambda: self.change(register_of(job), take_seat(job, self.own_id, deputies))
        mastery.sink = sink
        self._begin(mastery)
        mastery.open()
        return job

    def submit(
        self, job: str, program: Program, specs: Sequence[TaskSpec], safe: Callable[[int], None] = lambda tasks: None
    ) -> None:
        """`safe` is called with how many of the job's tasks are, once these are among them.

        Raises NotFound, NotAllowed, QuotaExceeded: then nothing is left of the job.
        """
        mastery = self.mastery(job)
        try:
            if mastery.counts.sealed:
                raise NotAllowed(f"job {job} takes no more tasks")
            if any(spec.index != number for number, spec in enumerate(specs, mastery.counts.tasks)):
                raise NotAllowed("tasks of a lasting job are numbered in turn")
            self._check_quota(mastery.opened.owner)
        except QuotaExceeded:
            self._background.start(self._withdraw, job)
            raise
        if program.body is not None:
            program = msgspec.structs.replace(program, body=self._written(mastery, program.body))
        specs = [self._as_written(mastery, spec) for spec in specs]
        mastery.add(program, [self._as_logged(spec) for spec in specs])
        mastery.when_shown(partial(safe, mastery.counts.tasks))
        self._jobs.submit(job, program, specs)

    async def seal(self, job: str, tasks: int) -> None:
        """When so many tasks have come, no more are taken. Returns once the whole job is safe: on disk at its deputies,
        or here where there are none. Raises NotFound, and Unavailable when nothing of it has become safe for long."""
        mastery = self.mastery(job)
        shown = -1
        while shown < mastery.journal.shown:
            shown = mastery.journal.shown
            with trio.move_on_after(_SEAL_TIMEOUT_S):
                await mastery.complete(tasks)
                mastery.seal()
                await mastery.shown()
                if job not in self.masteries:
                    raise Unavailable(f"job {job} has got another master")
                return
        why = mastery.hindrance or "its deputies do not answer"
        raise Unavailable(f"job {job} is not safe yet, and goes on trying: {why}")

    def let_go(self, job: str) -> None:
        """Its client is gone. What it has not said to be whole goes with it."""
        mastery = self.masteries.get(job)
        if mastery is not None:
            mastery.sink = None
            if not mastery.counts.sealed:
                self._background.start(self._withdraw, job)

    async def _withdraw(self, job: str) -> None:
        try:
            await self.forget(job)
        except PotluckError as error:
            logger.info("job %s, which nobody was told to be safe, goes on: %s", job, error)
            if (mastery := self.masteries.get(job)) is not None:
                mastery.seal()

    async def forget(self, job: str) -> None:
        """Cancels it and keeps nothing of it anywhere. Raises NotFound, Unavailable."""
        mastery = self.mastery(job)
        if not mastery.opened.options.confidential:
            await self._registers.change(register_of(job), remove(job))
        mastery.forgotten = True
        mastery.end()
        for node_id in mastery.seat.deputies:
            self._release(node_id, TaskComplete(job, mastery.epoch))

    def _release(self, deputy: bytes, message: TaskComplete) -> None:
        """Who does not hear it looks over what it has, now and then."""
        if (link := self._links.get(deputy)) is not None:
            link.tell(message)

    def released(self, sender: NodeId, job: str) -> None:
        """Its master needs nothing of it any more here: the register knows whether anybody does."""
        head = self.shelf.heads.get(job)
        if head is not None and head.master == sender:
            self._background.start(self.succession.look_at, job)

    def mastery(self, job: str) -> Mastery:
        """Raises NotFound for a job that this node is not master of."""
        mastery = self.masteries.get(job)
        if mastery is None:
            raise NotFound(f"no job {job} is open here")
        return mastery

    def _check_quota(self, owner: bytes) -> None:
        """Raises QuotaExceeded."""
        kept_bytes = self.shelf.kept_bytes(owner)
        kept_bytes += sum(one.bytes_kept for one in self.masteries.values() if one.opened.owner == owner)
        if kept_bytes > self._config.kept_owner_bytes_max:
            raise QuotaExceeded(f"{kept_bytes} bytes of your lasting jobs are kept here: `potluck job forget` old ones")

    # Payloads

    def _written(self, mastery: Mastery, payload: Payload) -> Payload:
        """A long one lies on disk, so that it outlives this process; uploads and results come as references."""
        kept = self._objects.keep(payload, mastery.job) if isinstance(payload, Inline) else payload
        if isinstance(kept, Inline):
            return kept
        data = self._objects.table.read(kept.object_id)
        if data is not None:  # else its upload found no room, and the task will say so
            mastery.keep_object(kept.object_id, data)
            self._objects.table.drop(kept.object_id)
        return kept

    def _as_written(self, mastery: Mastery, spec: TaskSpec) -> TaskSpec:
        arguments = self._written(mastery, spec.arguments)
        return spec if arguments is spec.arguments else msgspec.structs.replace(spec, arguments=arguments)

    def _as_logged(self, spec: TaskSpec) -> TaskSpec:
        """Arguments whose upload found no room stand in no log: the engine will say that they are missing."""
        if isinstance(spec.arguments, Reference) and self._objects.get(spec.arguments.object_id) is None:
            return msgspec.structs.replace(spec, arguments=Inline(b""))
        return spec

    def lasting(self, mastery: Mastery, reports: Sequence[Finished]) -> list[Finished]:
        return [self._with_value(mastery, report) for report in reports]

    def _with_value(self, mastery: Mastery, report: Finished) -> Finished:
        if not isinstance(report.value, Reference):
            return report
        value = self._written(mastery, report.value)
        if isinstance(value, Reference) and self._objects.get(value.object_id) is None:
            error = WorkerLost("its worker named a result that is not there")
            return Finished(report.index, report.attempt, fault=Fault(error.wire_code, str(error)))
        return msgspec.structs.replace(report, value=value)

    def _turns(self, job: str) -> Backlog | None:
        mastery = self.masteries.get(job)
        return self.backlog if mastery is not None and not mastery.opened.options.confidential else None

    def _kept(self, object_id: bytes) -> bytes | None:
        return self._unwritten.get_object(object_id) or self.archive.get_object(object_id)

    # Masteries

    def _begin(self, mastery: Mastery, *, on_hold: bool = False) -> None:
        job = mastery.job
        self.masteries[job] = mastery
        self._jobs.open(mastery.opened.options, mastery.take, job, mastery.epoch, on_hold=on_hold)
        self._background.start(self._hold, mastery)

    async def _hold(self, mastery: Mastery) -> None:
        job = mastery.job
        try:
            await mastery.run(lambda: self._over(mastery))
        finally:
            self._part_from_client(mastery)
            self._jobs.close(job, passed_on=not mastery.forgotten)
            del self.masteries[job]
        if mastery.forgotten:
            mastery.drop()
            await self.succession.drop(job)
        else:  # another one is master; which one, its log or the register will say
            self.shelf.put(job, mastery.head())
            self.gave_way(job)
            await self.succession.look_at(job)

    def _over(self, mastery: Mastery) -> None:
        self._jobs.close(mastery.job)
        if mastery.opened.options.confidential:
            return
        counts = mastery.counts
        self._jobs.history.add(
            Past(
                job=mastery.job,
                state=counts.state,
                submitted_s=mastery.opened.submitted_s,
                ended_s=counts.ended_s or self._mesh_time.now_s(),
                tasks=counts.tasks,
                failed=counts.failed,
                run_s=counts.run_s,
                nodes=dict(counts.nodes),
                lasting=True,
            )
        )

    def _part_from_client(self, mastery: Mastery) -> None:
        """Whoever waits for the job here would wait for ever."""
        if mastery.sink is None:
            return
        error = Unavailable(f"job {mastery.job} goes on elsewhere: `potluck result {mastery.job}`")
        left = sorted({*self._jobs.master.tasks_of(mastery.job), *telling.outcomes_in(mastery.unshown_entries())})
        faults: list[Report] = [Finished(index, 0, fault=Fault(error.wire_code, str(error))) for index in left]
        mastery.sink(mastery.job, [NodeReports("", True, faults)])

    def _holds_back(self, assign: Assign) -> bool:
        """Whether the assignment is to be sent by `Jobs.begin` and not now: of tasks that must not run twice, everybody
        who may become master has to know first that they may have begun."""
        assignment = assign.assignment
        mastery = self.masteries.get(assignment.job)
        if mastery is None or not mastery.opened.options.at_most_once:
            return False
        if not assignment.instructions or assignment.known_only:
            return False
        indexes = [instruction.index for instruction in assignment.instructions]
        mastery.give(self._name_of(assign.node_id), indexes, lambda: self._jobs.begin(assign))
        return True

    def _noted(self, note: Note) -> None:
        if (mastery := self.masteries.get(note.job)) is not None:
            mastery.note(note)

    def _name_of(self, node_id: bytes) -> str:
        if node_id == self.own_id:
            return self._identity.name
        member = self._membership.get(NodeId(node_id))
        return member.name if member is not None else node_id.hex()[:8]

    # Members

    def _member_changed(self, change: Changed) -> None:
        for mastery in self.masteries.values():
            mastery.stir()
        if change.event in ("died", "left"):
            for job, head in self.shelf.heads.items():
                if head.master == change.member.node_id:
                    self.succession.begin(job)

    async def hand_over(self, taken: list[str]) -> None:
        """Before this node leaves: a deputy that has everything becomes master, and the job is noted as `taken`."""
        async with trio.open_nursery() as nursery:
            for mastery in list(self.masteries.values()):
                nursery.start_soon(self._hand_over, mastery, taken)

    async def _hand_over(self, mastery: Mastery, taken: list[str]) -> None:
        for node_id in mastery.seat.deputies:
            if mastery.journal.is_ready(node_id) and self.is_present(node_id):
                change = succeed(mastery.job, node_id, self.own_id, mastery.epoch + 1)
                try:
                    await self.change(register_of(mastery.job), change)
                except PotluckError as error:
                    logger.info("job %s was not handed over: %s", mastery.job, error)
                else:
                    taken.append(mastery.job)
                    mastery.end()
                    self._release(node_id, TaskComplete(mastery.job, mastery.epoch, passed_on=True))
                return

    async def _look_over(self) -> None:
        await self.succession.look_over()
        now_s = self._mesh_time.now_s()
        for job, mastery in list(self.masteries.items()):
            ended_s = max(mastery.counts.ended_s, mastery.opened.submitted_s)
            if mastery.over and mastery.fetched and now_s > ended_s + self._config.kept_days * _DAY_S:
                try:
                    await self.forget(job)
                except PotluckError as error:
                    logger.debug("job %s is kept for longer: %s", job, error)

    def take_over(self, job: str, head: Head, seat: Seat, entries: Sequence[Entry], *, unfenced: bool) -> None:
        """From the whole log as it lies here: everything that was shown is in it. A job that is not sealed there was
        never acknowledged, and whoever was adding to it is gone with its master."""
        story, counts = story_of(entries), Counts()
        for entry in entries:
            counts.take(entry)
        mastery = Mastery(self, job, Journal(head.log.begun(seat.epoch)), seat, story.opened, unfenced=unfenced)
        mastery.resume(counts, story, head.bytes_kept, head.shown)
        logger.info("Node %s is master of job %s now", self._identity.name, job)
        del self.shelf.heads[job]
        self._begin(mastery, on_hold=True)
        self._resuming.submit(mastery, story)
        self._background.start(self._go_on, mastery, story)

    async def _go_on(self, mastery: Mastery, story: Story) -> None:
        if not story.sealed:
            await self._withdraw(mastery.job)
        if story.tasks and not mastery.forgotten:
            await self._resuming.go_on(mastery, story.given)

    # What masteries and the shelf ask

    def candidates(self, owner: bytes) -> list[bytes]:
        return [
            member.node_id
            for member in self._membership.present()
            if member.status is Status.ALIVE and self._owner_of(member.node_id) == owner
        ]

    def is_own(self, node_id: NodeId) -> bool:
        """Whether it is of this node's owner; nobody else is asked or told about jobs."""
        return self._owner_of(node_id) == self._identity.owner_id

    def is_present(self, node_id: bytes) -> bool:
        member = self._membership.get(NodeId(node_id))
        return node_id == self.own_id or (member is not None and member.present)

    async def change(self, register: bytes, change: Change) -> Seat:
        seat: Seat = await self._registers.change(register, change)
        return seat

    async def tell(self, node_id: bytes, make: Callable[[int], JobLog], timeout_s: float) -> JobLogged:
        return await self._asking.ask(node_id, make, JobLogged, timeout_s)

    def now_s(self) -> float:
        return self._mesh_time.now_s()

    def is_pair(self, register: bytes) -> bool:
        acceptors = self._registers.acceptors_of(register)
        return 0 < len(acceptors) <= _PAIR

    async def seat_of(self, job: str) -> Seat | None:
        """Raises Unavailable."""
        return (await self.seats_in(register_of(job))).get(job)

    async def seats_in(self, register: bytes) -> Seats:
        """Raises Unavailable, also where what has been agreed is no list of seats: any member may have proposed it."""
        try:
            return seats_in(await self._registers.read(register))
        except (RemoteProtocolError, Refused) as error:
            raise Unavailable(f"who has the seats of jobs cannot be told: {error}") from error

    async def may_write(self, job: str, sender: NodeId) -> bool:
        seat = await self.seat_of(job)
        if seat is not None and sender in seat.deputies:
            raise Unavailable(f"job {job} has a master who has not told the register yet")
        return seat is not None and seat.master == sender

    async def outranked(self, job: str, sender: NodeId, epoch: int) -> int | None:
        mastery = self.masteries.get(job)
        if mastery is None:
            return None
        if mastery.epoch > epoch:
            return mastery.epoch
        if mastery.epoch == epoch or not await self.may_write(job, sender):
            raise Unavailable(f"job {job} has two masters: the register has yet to tell which")
        mastery.end()
        await mastery.ended.wait()
        return None

    def _orphaned(self, link: Link, message: Message) -> None:
        assert isinstance(message, JobOrphaned)
        self.claim(link.peer.node_id, message.job)

    def claim(self, node_id: NodeId, job: str) -> None:
        """That node has something of the job, from a master that is gone."""
        if (mastery := self.masteries.get(job)) is not None:
            self._background.start(self._resuming.take_in, node_id, mastery, {})

    def _logged(self, link: Link, message: Message) -> None:
        assert isinstance(message, JobLog)
        self._background.start(link.guarded, self.shelf.take, link, message)
