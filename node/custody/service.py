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
from typing import Final

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.clock import MeshTime
from ...overlay.config import Config
from ...overlay.errors import (
    DeadlineExceeded,
    LinkLost,
    NotAllowed,
    NotFound,
    PotluckError,
    QuotaExceeded,
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
from ...overlay.wire.joblog import JobLog, JobLogged, Opened
from ...overlay.wire.work import Fault, Finished, Inline, Payload, Program, Reference
from ..jobs.effects import Assign
from ..jobs.service import Jobs
from ..objects import Objects
from .archive import Archive, Head
from .deputies import Candidate, choose
from .journal import Journal, Log
from .mastery import Alone, Mastery, Sink
from .seats import Change, Seat, register_of, remove, seats_in, succeed
from .seats import take as take_seat
from .shelf import Shelf
from .story import Counts, Story, story_of
from .volatile import Volatile

logger = logging.getLogger("potluck.node")

_LOOK_S: Final = 10.0
"""How often the logs held here are looked over: whose master is gone, and which nobody needs any more."""
_RETRY_S: Final = 1.0
_STEP_S: Final = 1.0
"""A deputy waits so long for each that stands before it."""
_SEAL_TIMEOUT_S: Final = 30.0
_LOOKS: Final = 3
"""Times that a log is found to be nobody's before it is dropped."""
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
        self.shelf = Shelf(self.archive, self, objects.fetch_bytes, config.jobs.kept_owner_bytes_max)
        self._unwritten = Archive(Volatile())
        self._alone = Alone(self.own_id, self._unwritten, self.lasting)
        self._config = config.jobs
        self._identity = identity
        self._jobs = jobs
        self._registers = registers
        self._links = links
        self._membership = membership
        self._objects = objects
        self._entropy = entropy
        self._mesh_time = mesh_time
        self._owner_of = owner_of
        self._background = Background()
        self._succeeding: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}
        """Logs that nobody seems to need: how long they were, and how often that was so."""
        jobs.holds_back = self._holds_back
        objects.kept = self._kept
        links.on(JobLog, self._logged)
        membership.observers.append(self._member_changed)

    async def run(self) -> None:
        self.shelf.load()
        async with trio.open_nursery() as nursery:
            await nursery.start(self._background.run)
            for job, head in list(self.shelf.heads.items()):
                if head.master == self.own_id:
                    self._background.start(self._succeed, job)
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

    def submit(self, job: str, program: Program, specs: Sequence[TaskSpec]) -> None:
        """Raises NotFound, NotAllowed, QuotaExceeded: then nothing is left of the job."""
        mastery = self.mastery(job)
        try:
            if mastery.counts.sealed:
                raise NotAllowed(f"job {job} takes no more tasks")
            self._check_quota(mastery.opened.owner)
        except PotluckError:
            self._background.start(self.forget, job)
            raise
        if program.body is not None:
            program = msgspec.structs.replace(program, body=self._written(mastery, program.body))
        specs = [msgspec.structs.replace(spec, arguments=self._written(mastery, spec.arguments)) for spec in specs]
        mastery.add(program, specs)
        self._jobs.submit(job, program, specs)

    async def seal(self, job: str, tasks: int) -> None:
        """When so many tasks have come, no more are taken. Returns once the whole job is safe: on disk at its deputies,
        or here where there are none. Raises NotFound, Unavailable."""
        mastery = self.mastery(job)
        await mastery.complete(tasks)
        mastery.seal()
        with trio.move_on_after(_SEAL_TIMEOUT_S):
            await mastery.shown()
            if job not in self.masteries:
                raise Unavailable(f"job {job} has got another master")
            return
        why = mastery.waits_for or "its deputies do not answer"
        raise Unavailable(f"job {job} is not safe yet, and goes on trying: {why}")

    def let_go(self, job: str) -> None:
        """Its client is gone; no more tasks will come."""
        mastery = self.masteries.get(job)
        if mastery is not None:
            mastery.sink = None
            mastery.seal()

    async def forget(self, job: str) -> None:
        """Cancels it and keeps nothing of it anywhere. Raises NotFound, Unavailable."""
        mastery = self.mastery(job)
        if not mastery.opened.options.confidential:
            await self._registers.change(register_of(job), remove(job))
        mastery.forgotten = True
        mastery.end()

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
        data = self._objects.table.get(kept.object_id)
        if data is not None:  # else its upload found no room, and the task will say so
            mastery.keep_object(kept.object_id, data)
            self._objects.table.drop(kept.object_id)
        return kept

    def lasting(self, mastery: Mastery, reports: Sequence[Finished]) -> list[Finished]:
        return [
            msgspec.structs.replace(report, value=self._written(mastery, report.value))
            if isinstance(report.value, Reference)
            else report
            for report in reports
        ]

    def _kept(self, object_id: bytes) -> bytes | None:
        return self._unwritten.get_object(object_id) or self.archive.get_object(object_id)

    # Masteries

    def _begin(self, mastery: Mastery) -> None:
        self.masteries[mastery.job] = mastery
        self._jobs.open(mastery.opened.options, mastery.take, job_id=mastery.job, epoch=mastery.epoch)
        self._background.start(self._hold, mastery)

    async def _hold(self, mastery: Mastery) -> None:
        job = mastery.job
        try:
            await mastery.run(lambda: self._jobs.close(job))
        finally:
            self._jobs.close(job)
            del self.masteries[job]
        if mastery.forgotten:
            mastery.drop()
            await self.archive.commit()
        else:  # another one is master; which one, its log or the register will say
            self.shelf.put(job, mastery.head())
            await self._look_at(job)

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

    def _name_of(self, node_id: bytes) -> str:
        if node_id == self.own_id:
            return self._identity.name
        member = self._membership.get(NodeId(node_id))
        return member.name if member is not None else node_id.hex()[:8]

    # Succession

    def _member_changed(self, change: Changed) -> None:
        for mastery in self.masteries.values():
            mastery.stir()
        if change.event in ("died", "left"):
            for job, head in self.shelf.heads.items():
                if head.master == change.member.node_id:
                    self._background.start(self._succeed, job)

    async def _succeed(self, job: str) -> None:
        """Goes on until this node is master, somebody else is, or the job is forgotten."""
        if job in self._succeeding:
            return
        self._succeeding.add(job)
        try:
            await self._wait_turn(job)
            while self._is_orphaned(job):
                await self._try_to_succeed(job)
        finally:
            self._succeeding.discard(job)

    def _is_orphaned(self, job: str) -> bool:
        head = self.shelf.heads.get(job)
        return head is not None and (head.master == self.own_id or not self.is_present(head.master))

    async def _wait_turn(self, job: str) -> None:
        head = self.shelf.heads[job]
        if self.own_id in head.deputies:
            before = head.deputies[: head.deputies.index(self.own_id)]
            await trio.sleep(_STEP_S * sum(map(self.is_present, before)))

    async def _try_to_succeed(self, job: str) -> None:
        head = self.shelf.heads[job]
        register, unfenced = register_of(job), False
        if head.master == self.own_id:
            await self._ask_deputies(job, head)
        try:
            seat = await self.change(register, succeed(job, self.own_id, head.master, head.log.epoch + 1))
        except NotFound:
            await self._drop(job)
            return
        except Unavailable as error:
            if not self.is_pair(register):
                logger.info("job %s waits for a master: %s", job, error)
                await trio.sleep(_RETRY_S)
                return
            seat, unfenced = Seat(self.own_id, head.log.epoch + 1), True
        if self.shelf.heads.get(job) is not head:
            return  # somebody's log came meanwhile: looked at again
        if seat.master != self.own_id:
            self.shelf.put(job, msgspec.structs.replace(head, master=seat.master, deputies=list(seat.deputies)))
            if self.own_id not in seat.deputies:
                await self._drop(job)
            return
        await self._take_over(job, head, seat, unfenced=unfenced or head.unfenced)

    async def _ask_deputies(self, job: str, head: Head) -> None:
        """A master that comes back asks first who went on without it: of two, the register cannot tell."""
        for node_id in head.deputies:
            try:
                said = await self.tell(node_id, lambda number: _asking(number, job, head), _RETRY_S)
            except (Unavailable, NotAllowed):
                continue
            if said.epoch > head.log.epoch and job in self.shelf.heads:
                self.shelf.put(job, msgspec.structs.replace(head, master=node_id))

    async def _take_over(self, job: str, head: Head, seat: Seat, *, unfenced: bool) -> None:
        """From the log as it lies here: everything that was shown is in it."""
        try:
            entries = list(self.shelf.entries(job, head.length))
            story = story_of(entries)
        except RemoteProtocolError as error:
            entries = []
            logger.error("the log of job %s is damaged: %s", job, error)
        if len(entries) < head.length or not entries:
            missing = head.length - len(entries)
            logger.error("job %s cannot go on here: this disk has lost %d entries of its log", job, missing)
            await self._drop(job)
            return
        counts = Counts()
        for entry in entries:
            counts.take(entry)
        mastery = Mastery(self, job, Journal(head.log.begun(seat.epoch)), seat, story.opened, unfenced=unfenced)
        mastery.resume(counts, story.ended, head.bytes_kept, head.shown)
        logger.info("Node %s is master of job %s now", self._identity.name, job)
        del self.shelf.heads[job]
        self._begin(mastery)
        mastery.seal()  # whoever was adding to it is gone with its master
        self._resubmit(mastery, story)

    def _resubmit(self, mastery: Mastery, story: Story) -> None:
        """What has no outcome runs again, but for what must not."""
        error = WorkerLost("its master was lost; it may have run, and is not to be run twice")
        for index, node in story.given.items():
            lost = Finished(index, 0, fault=Fault(error.wire_code, str(error)))
            mastery.take(mastery.job, [NodeReports(node, False, [lost])])
        specs: dict[bytes, list[TaskSpec]] = {program_id: [] for program_id in story.programs}
        for index, (program_id, spec) in story.tasks.items():
            if index not in story.given:
                specs[program_id].append(msgspec.structs.replace(spec, arguments=self._here(spec.arguments)))
        for program_id, program in story.programs.items():
            body = None if program.body is None else self._here(program.body)
            self._jobs.submit(mastery.job, msgspec.structs.replace(program, body=body), specs[program_id])

    def _here(self, payload: Payload) -> Payload:
        """Written down here, whoever named it first."""
        if isinstance(payload, Inline):
            return payload
        return Reference(payload.object_id, payload.size_bytes, self.own_id)

    async def hand_over(self) -> None:
        """Before this node leaves: a deputy that has everything becomes master."""
        async with trio.open_nursery() as nursery:
            for mastery in list(self.masteries.values()):
                nursery.start_soon(self._hand_over, mastery)

    async def _hand_over(self, mastery: Mastery) -> None:
        for node_id in mastery.seat.deputies:
            if mastery.journal.is_ready(node_id) and self.is_present(node_id):
                change = succeed(mastery.job, node_id, self.own_id, mastery.epoch + 1)
                try:
                    await self.change(register_of(mastery.job), change)
                except PotluckError as error:
                    logger.info("job %s was not handed over: %s", mastery.job, error)
                else:
                    mastery.end()
                return

    # Looking over

    async def _look_over(self) -> None:
        for job in list(self.shelf.heads):
            await self._look_at(job)
        now_s = self._mesh_time.now_s()
        for job, mastery in list(self.masteries.items()):
            if mastery.over and mastery.fetched and now_s > mastery.counts.ended_s + self._config.kept_days * _DAY_S:
                try:
                    await self.forget(job)
                except PotluckError as error:
                    logger.debug("job %s is kept for longer: %s", job, error)

    async def _look_at(self, job: str) -> None:
        """Whose job is it, and is it still one?"""
        try:
            seat = await self.seat_of(job)
        except PotluckError:
            return  # a part of the mesh that cannot agree keeps what it has
        head = self.shelf.heads.get(job)
        if head is None:
            return
        if seat is None or self.own_id not in (seat.master, *seat.deputies):
            if self._is_unneeded(job, head):
                await self._drop(job)
            return
        self._seen.pop(job, None)
        if seat.master != head.master or list(seat.deputies) != head.deputies:
            self.shelf.put(job, msgspec.structs.replace(head, master=seat.master, deputies=list(seat.deputies)))
        if self._is_orphaned(job):
            self._background.start(self._succeed, job)

    def _is_unneeded(self, job: str, head: Head) -> bool:
        """A new job's log comes before its seat is agreed, and a deputy's before it is named."""
        length, looks = self._seen.get(job, (head.length, 0))
        looks = looks + 1 if length == head.length else 1
        self._seen[job] = head.length, looks
        return looks >= _LOOKS

    async def _drop(self, job: str) -> None:
        self._seen.pop(job, None)
        self.shelf.drop(job)
        try:
            await self.archive.commit()
        except Unavailable as error:
            logger.debug("job %s is not removed yet: %s", job, error)

    # What masteries and the shelf ask

    def candidates(self, owner: bytes) -> list[Candidate]:
        return [
            Candidate(member.node_id, own=self._owner_of(member.node_id) == owner)
            for member in self._membership.present()
            if member.status is Status.ALIVE
        ]

    def is_present(self, node_id: bytes) -> bool:
        member = self._membership.get(NodeId(node_id))
        return node_id == self.own_id or (member is not None and member.present)

    async def change(self, register: bytes, change: Change) -> Seat:
        seat: Seat = await self._registers.change(register, change)
        return seat

    async def tell(self, node_id: bytes, make: Callable[[int], JobLog], timeout_s: float) -> JobLogged:
        member = self._membership.get(NodeId(node_id))
        if member is None or not member.present:
            raise LinkLost("the deputy is not there")
        with trio.move_on_after(timeout_s):
            link = self._links.get(node_id) or await self._links.link_to(NodeId(node_id), member.address)
            return await link.request(make, JobLogged, timeout_s)
        raise DeadlineExceeded(f"{member.name} did not answer in {timeout_s:g} s")

    def is_pair(self, register: bytes) -> bool:
        acceptors = self._registers.acceptors_of(register)
        return 0 < len(acceptors) <= _PAIR

    async def seat_of(self, job: str) -> Seat | None:
        """Raises Unavailable."""
        return seats_in(await self._registers.read(register_of(job))).get(job)

    async def may_write(self, job: str, sender: NodeId) -> bool:
        seat = await self.seat_of(job)
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

    def _logged(self, link: Link, message: Message) -> None:
        assert isinstance(message, JobLog)
        self._background.start(self.shelf.take, link, message)


def _asking(number: int, job: str, head: Head) -> JobLog:
    """Says nothing new, and hears under which epoch the other one obeys."""
    return JobLog(number, job, head.eras, head.length, 0, head.length, [], head.deputies)
