"""Shell: any node answers for any job of its owner, by asking whoever is its master."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Callable
from itertools import chain
from typing import Final

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.errors import (
    LinkLost,
    NotAllowed,
    NotFound,
    PotluckError,
    RemoteProtocolError,
    Unavailable,
    from_wire,
)
from ...overlay.identity.mesh import Identity
from ...overlay.ids import NodeId
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.membership.service import Membership
from ...overlay.wire.codec import Message
from ...overlay.wire.questions import AskJob, JobSaid, TaskLine
from ...overlay.wire.streams import TaskOutput
from ...overlay.wire.work import Reference
from ..jobs.service import Jobs
from ..jobs.waiting import Waiting
from . import telling
from .archive import Head
from .asking import Asking
from .live import Live
from .mastery import Mastery
from .seats import Seat
from .service import Custody
from .story import Counts

logger = logging.getLogger("potluck.node")

_PATIENCE_S: Final = 5.0
_SEAT_PATIENCE_S: Final = 1.0
_IN_VAIN_S: Final = 5.0
_IN_VAIN_MAX: Final = 1000
_ALL_PATIENCE_S: Final = 2.0
"""For everybody's list of jobs."""
_CANCEL_S: Final = 5.0
_CANCEL_TRIES_MAX: Final = 12
_EXPLAINED_MAX: Final = 1000


class Questions:
    """`answer` is for this user's programs; questions of the owner's other nodes come over links."""

    def __init__(self, identity: Identity, custody: Custody, jobs: Jobs, links: Links, membership: Membership) -> None:
        self._identity = identity
        self._custody = custody
        self._jobs = jobs
        self._asking = Asking(links, membership)
        self._membership = membership
        self._background = Background()
        self._live = Live()
        self._in_vain_until_s: dict[str, float] = {}
        self._cancelling: set[str] = set()
        """Jobs for which somebody here was told that it was not safe yet."""
        custody.gave_way = self._gave_way
        self.name_of: Callable[[NodeId], str] = lambda node_id: node_id.hex()[:8]
        """Of one that is no member now."""
        links.on(AskJob, self._asked)

    async def run(self) -> None:
        await self._background.run()

    async def answer(self, question: AskJob) -> JobSaid:
        """Raises NotFound, NotAllowed, Unavailable."""
        if question.what in ("jobs", "history"):
            return await self._of_all(question)
        here = await self._answer_here(question, self._identity.owner_id)
        return here if here is not None else await self._ask_on(question)

    def overheard(self, node_id: NodeId, said: TaskOutput) -> None:
        """What a task prints that runs on that node, of a job that lasts."""
        self._live.take(node_id, self._name_of(node_id), said)

    # Here

    async def _answer_here(self, question: AskJob, owner: bytes) -> JobSaid | None:
        """None for a job that this node is not master of."""
        mastery = self._custody.masteries.get(question.job)
        if mastery is not None:
            if mastery.opened.owner != owner:
                raise NotAllowed(f"job {question.job} is another owner's")
            return await self._of_mastery(question, mastery)
        if question.job in self._jobs.master.jobs:
            if owner != self._identity.owner_id:
                raise NotAllowed(f"job {question.job} is another owner's")
            return self._of_attached(question)
        return None

    async def _of_mastery(self, question: AskJob, mastery: Mastery) -> JobSaid:
        job, request = question.job, question.request
        match question.what:
            case "cancel":
                await self._cancel(mastery)
            case "forget":
                told = self._mastery_row(mastery)
                await self._custody.forget(job)
                return _said(request, told)
            case "explain":
                return _said(request, [one.as_dict(job) for one in self._why(mastery)])
            case "tasks":
                return self._page(question, mastery)
            case "output":
                read = self._live.read(job, question.first)
                told = self._mastery_row(mastery)
                return JobSaid(
                    request,
                    json=json.dumps(told).encode(),
                    more=read.more,
                    printed=read.pieces,
                    missed_bytes=read.missed_bytes,
                )
        return _said(request, self._mastery_row(mastery))

    async def _cancel(self, mastery: Mastery) -> None:
        """Raises Unavailable while it is not safe. Should another node be master in the end, that one is asked."""
        job = mastery.job
        self._cancelling.add(job)
        self._jobs.cancel(job, list(self._jobs.master.tasks_of(job)))
        mastery.seal()
        with trio.move_on_after(_CANCEL_S) as scope:
            await mastery.shown()
        if scope.cancelled_caught or mastery.ended.is_set():
            why = mastery.hindrance or "its deputies do not answer"
            raise Unavailable(f"job {job} is being cancelled, which is not safe yet: {why}")
        self._cancelling.discard(job)

    def _gave_way(self, job: str) -> None:
        if job in self._cancelling:
            self._cancelling.discard(job)
            self._background.start(self._cancel_elsewhere, job)

    async def _cancel_elsewhere(self, job: str) -> None:
        for _ in range(_CANCEL_TRIES_MAX):
            try:
                await self._ask_on(AskJob(0, job, "cancel"))
            except NotFound:
                return
            except PotluckError as error:
                logger.debug("job %s is not cancelled by whoever is its master now: %s", job, error)
                await trio.sleep(_CANCEL_S)
            else:
                logger.info("job %s is cancelled by whoever is its master now, as was asked here", job)
                return

    def _page(self, question: AskJob, mastery: Mastery) -> JobSaid:
        job = self._jobs.master.jobs.get(mastery.job)
        lines = telling.lines_of(mastery, job, self._worker_names(), question.first, self._now())
        page, more = telling.page(map(self._from_here, lines))
        if not more:
            mastery.note_fetched()
        return _said(question.request, self._mastery_row(mastery), page, more)

    def _worker_names(self) -> dict[NodeId, str]:
        return {worker.node_id: worker.name for worker in self._jobs.master.workers.values()}

    def _from_here(self, line: TaskLine) -> TaskLine:
        """A long value is fetched from this node, whoever wrote it down first."""
        finished = line.finished
        if finished is None or not isinstance(finished.value, Reference):
            return line
        value = msgspec.structs.replace(finished.value, holder=self._identity.node_id)
        return msgspec.structs.replace(line, finished=msgspec.structs.replace(finished, value=value))

    def _mastery_row(self, mastery: Mastery) -> telling.Row:
        told = telling.row(
            mastery.job,
            mastery.shown_counts,
            master=self._identity.name,
            epoch=mastery.epoch,
            unfenced=mastery.unfenced,
        )
        job = self._jobs.master.jobs.get(mastery.job)
        if told["state"] == "pending" and job is not None and any(job.at.values()):
            told["state"] = "running"  # the log has only what has ended
        return told

    def _why(self, mastery: Mastery) -> list[Waiting]:
        waiting = self._jobs.master.explain(trio.current_time(), mastery.job, _EXPLAINED_MAX)
        if not (hindrance := mastery.hindrance):
            return waiting
        if mastery.opened.options.at_most_once:  # whatever else they wait for, they may not begin
            job = self._jobs.master.jobs.get(mastery.job)
            held_back = telling.beginnings_in(mastery.unshown_entries())
            held_back |= {one.task for one in waiting if job is None or not job.tasks[one.task].nodes}
            why = f"it must not run twice, and those who may become its master do not know that it begins: {hindrance}"
            waiting = [Waiting(one.task, why) if one.task in held_back and not one.lacking else one for one in waiting]
        why = f"its outcome is not safe yet: {hindrance}"
        ended = sorted(telling.outcomes_in(mastery.unshown_entries()))
        return [*waiting, *(Waiting(index, why) for index in ended[:_EXPLAINED_MAX])]

    def _now(self) -> telling.Now:
        return telling.Now(trio.current_time(), self._custody.now_s())

    def _of_attached(self, question: AskJob) -> JobSaid:
        job, request = self._jobs.master.jobs[question.job], question.request
        told = telling.attached_row(job, self._identity.name)
        match question.what:
            case "cancel":
                self._jobs.cancel(job.job_id, list(job.indexes()))
                return _said(request, {**told, "state": "cancelled"})
            case "explain":
                waiting = self._jobs.master.explain(trio.current_time(), job.job_id, _EXPLAINED_MAX)
                return _said(request, [one.as_dict(job.job_id) for one in waiting])
            case "tasks":
                indexes = sorted(index for index in job.indexes() if index >= question.first)
                names, now = self._worker_names(), self._now()
                lines = (telling.open_line(job, index, names, now) for index in indexes)
                return _said(request, told, *telling.page(lines))
            case "forget":
                raise NotAllowed(f"job {question.job} is forgotten when its program ends, which waits for it")
        return _said(request, told)

    # Elsewhere

    async def _ask_on(self, question: AskJob) -> JobSaid:
        job = question.job
        agreed, seat = await self._seat(job)
        if not agreed:
            if (said := await self._ask_whoever_knows(question)) is not None:
                return said
            seat = await self._custody.seat_of(job)
        if seat is not None:
            for node_id in (seat.master, *seat.deputies):
                if (said := await self._ask(NodeId(node_id), question)) is not None:
                    return said
        if (here := await self._answer_here(question, self._identity.owner_id)) is not None:
            return here  # it has become the master meanwhile
        if seat is None:
            if (said := await self._ask_everybody(question)) is not None:
                return said
            raise NotFound(f"no job {job}")
        head = self._custody.shelf.heads.get(job)
        if head is not None and head.log.epoch >= seat.epoch:
            return self._of_shelf(question, head)
        if all(map(self._is_anothers, (seat.master, *seat.deputies))):
            raise NotFound(f"no job {job} of yours")
        raise Unavailable(f"job {job} waits: its master is gone, and nobody has taken its place yet")

    async def _ask_whoever_knows(self, question: AskJob) -> JobSaid | None:
        """While it cannot be agreed who is master: whoever was when this node last heard, else who knows most of it."""
        head = self._custody.shelf.heads.get(question.job)
        if head is not None and (said := await self._ask(NodeId(head.master), question)) is not None:
            return said
        if (said := await self._ask_everybody(question)) is not None:
            return said
        if (here := await self._answer_here(question, self._identity.owner_id)) is not None:
            return here  # likewise
        return None if head is None else self._of_shelf(question, head)

    def _is_anothers(self, node_id: bytes) -> bool:
        """Known to be another owner's: it would tell us nothing."""
        return self._membership.get(NodeId(node_id)) is not None and not self._custody.is_own(NodeId(node_id))

    async def _seat(self, job: str) -> tuple[bool, Seat | None]:
        """Whether it can be agreed now who is master of it, and who is. A long answer has many parts: each is asked for
        by itself, and where it was waited for in vain a moment ago, it is not waited for again."""
        if trio.current_time() < self._in_vain_until_s.get(job, -math.inf):
            return False, None
        try:
            with trio.move_on_after(_SEAT_PATIENCE_S):
                return True, await self._custody.seat_of(job)
        except Unavailable as error:
            logger.debug("it cannot be agreed now who is master of job %s: %s", job, error)
        if len(self._in_vain_until_s) >= _IN_VAIN_MAX:
            self._in_vain_until_s.clear()
        self._in_vain_until_s[job] = trio.current_time() + _IN_VAIN_S
        return False, None

    async def _ask(self, node_id: NodeId, question: AskJob, patience_s: float = _PATIENCE_S) -> JobSaid | None:
        """None where the node is not there or does not have the job. Raises what it answers otherwise."""
        if not self._custody.is_own(node_id):
            return None
        try:
            said = await self._asking.ask(
                node_id, lambda number: msgspec.structs.replace(question, request=number), JobSaid, patience_s
            )
        except (Unavailable, NotAllowed):
            return None
        if said.code == NotFound.wire_code:
            return None
        if said.code:
            raise from_wire(said.code, said.reason)
        return msgspec.structs.replace(said, request=question.request)

    async def _ask_everybody(self, question: AskJob, patience_s: float = _ALL_PATIENCE_S) -> JobSaid | None:
        """A job whose client waits for it is known to its master only."""
        answers = await self._all(question, patience_s)
        return max(answers, key=lambda said: telling.progress(_row_in(said)), default=None)

    async def _all(self, question: AskJob, patience_s: float) -> list[JobSaid]:
        answers: list[JobSaid] = []

        async def ask(node_id: NodeId) -> None:
            try:
                said = await self._ask(node_id, question, patience_s)
            except PotluckError as error:
                logger.debug("a question about jobs was refused: %s", error)
                return
            if said is not None:
                answers.append(said)

        async with trio.open_nursery() as nursery:
            for member in self._membership.present():
                nursery.start_soon(ask, member.node_id)
        return answers

    def _of_shelf(self, question: AskJob, head: Head) -> JobSaid:
        """Its master does not answer: what this deputy knows to have been shown."""
        if head.owner != self._identity.owner_id:
            raise NotAllowed(f"job {question.job} is another owner's")
        if question.what in ("cancel", "forget"):
            raise Unavailable(f"the master of job {question.job} does not answer, and nobody has taken its place yet")
        entries = list(self._custody.shelf.entries(question.job, head.shown))
        counts = telling.counted(entries)
        told = self._shelf_row(question.job, head, counts)
        if question.what == "explain":
            reason = "its master does not answer, and this part of the mesh cannot agree on another one yet"
            return _said(question.request, [Waiting(0, reason).as_dict(question.job)])
        if question.what == "tasks":
            ended = {line.index: line for line in chain.from_iterable(map(telling.ended_lines, entries))}
            indexes = range(question.first, counts.tasks)
            lines = (self._from_here(ended.get(index) or TaskLine(index, "pending")) for index in indexes)
            return _said(question.request, told, *telling.page(lines))
        return _said(question.request, told)

    def _shelf_row(self, job: str, head: Head, counts: Counts) -> telling.Row:
        master = self._name_of(head.master)
        return telling.row(job, counts, master=master, epoch=head.log.epoch, unfenced=head.unfenced)

    def _name_of(self, node_id: bytes) -> str:
        if node_id == self._identity.node_id:
            return self._identity.name
        member = self._membership.get(NodeId(node_id))
        return member.name if member is not None else self.name_of(NodeId(node_id))

    # All jobs

    async def _of_all(self, question: AskJob) -> JobSaid:
        others = await self._all(question, _ALL_PATIENCE_S)
        rows: dict[str, telling.Row] = {}
        for row in chain(await self._rows_here(question.what, self._identity.owner_id), *map(_rows_in, others)):
            job = str(row.get("job"))
            rows[job] = max(rows.get(job, row), row, key=telling.progress)
        ordered = sorted(rows.values(), key=lambda row: str(row["job"]))
        return _said(question.request, sorted(ordered, key=_since))

    async def _rows_here(self, what: str, owner: bytes, *, confidential: bool = True) -> list[telling.Row]:
        masteries = [one for one in self._custody.masteries.values() if one.opened.owner == owner]
        if what == "history":
            return self._jobs.history.rows() if owner == self._identity.owner_id else []
        rows = [self._mastery_row(mastery) for mastery in masteries]
        if owner == self._identity.owner_id:
            attached = [job for name, job in self._jobs.master.jobs.items() if name not in self._custody.masteries]
            rows += [telling.attached_row(job, self._identity.name) for job in attached]
            rows += await self._orphans()
        return rows if confidential else [row for row in rows if not self._is_confidential(str(row["job"]))]

    async def _orphans(self) -> list[telling.Row]:
        """Jobs whose master is gone and has no successor yet, or has started and goes on with them in a moment, by the
        logs that lie here; not those that were forgotten, as far as that can be told."""
        shelf, rows, own = self._custody.shelf, list[telling.Row](), self._identity.node_id
        orphaned = [
            (job, head)
            for job, head in shelf.heads.items()
            if head.master == own or not self._custody.is_present(head.master)
        ]
        agreed = True
        for job, head in orphaned:
            agreed, seat = await self._seat(job) if agreed else (False, None)
            if agreed and seat is None:
                continue
            try:
                rows.append(self._shelf_row(job, head, telling.counted(shelf.entries(job, head.shown))))
            except RemoteProtocolError as error:
                logger.error("job %s is not listed: %s", job, error)
        return rows

    # What other nodes ask

    def _asked(self, link: Link, message: Message) -> None:
        assert isinstance(message, AskJob)
        self._background.start(link.guarded, self._answer_peer, link, message)

    async def _answer_peer(self, link: Link, question: AskJob) -> None:
        owner = bytes(link.peer.owner_id)
        try:
            if question.what in ("jobs", "history"):
                said = _said(question.request, await self._rows_here(question.what, owner, confidential=False))
            elif self._is_confidential(question.job):
                raise NotFound(f"no job {question.job}")
            else:
                said = await self._answer_here(question, owner) or await self._of_deputy(question, owner)
            link.post(said)
        except LinkLost:
            return  # whoever asked asks somebody else
        except PotluckError as error:
            self._refuse(link, question, error)

    def _refuse(self, link: Link, question: AskJob, error: PotluckError) -> None:
        try:
            link.post(JobSaid(question.request, error.wire_code, str(error)))
        except LinkLost:
            pass  # likewise

    def _is_confidential(self, job: str) -> bool:
        """Of those nothing leaves this node."""
        known = self._jobs.master.jobs.get(job)
        mastery = self._custody.masteries.get(job)
        options = known.options if known is not None else mastery.opened.options if mastery is not None else None
        return options is not None and options.confidential

    async def _of_deputy(self, question: AskJob, owner: bytes) -> JobSaid:
        """What lies here of a job that was forgotten is not told: the register knows no seat of it."""
        head = self._custody.shelf.heads.get(question.job)
        if head is not None and head.owner == owner == self._identity.owner_id:
            agreed, seat = await self._seat(question.job)
            if seat is not None or not agreed:
                return self._of_shelf(question, head)
        raise NotFound(f"no job {question.job}")


def _rows_in(said: JobSaid) -> list[telling.Row]:
    rows = _told_by(said)
    return [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []


def _row_in(said: JobSaid) -> telling.Row:
    row = _told_by(said)
    return row if isinstance(row, dict) else {}


def _told_by(said: JobSaid) -> object:
    """Nothing where another node's words make no sense."""
    try:
        return json.loads(said.json)
    except ValueError:
        return None


def _since(row: telling.Row) -> float:
    since_s = row.get("submitted_s", 0.0)
    return since_s if isinstance(since_s, float) else 0.0


def _said(request: int, told: object, lines: list[TaskLine] | None = None, more: int = 0) -> JobSaid:
    return JobSaid(request, json=json.dumps(told).encode(), lines=lines or [], more=more)
