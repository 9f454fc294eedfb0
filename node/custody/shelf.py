"""Logs held here for their masters: what a deputy does, and what a node finds on its disk when it starts."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Final, Protocol

import msgspec
import trio

from ...overlay.errors import LimitExceeded, LinkLost, NotFound, PotluckError, RemoteProtocolError, Unavailable
from ...overlay.ids import NodeId
from ...overlay.links.link import Link
from ...overlay.wire.joblog import Added, Came, Ended, Entry, JobLog, JobLogged, Opened, decode_entry, encode_entry
from ...overlay.wire.work import Reference
from .archive import Archive, Head
from .journal import Log, is_sound, take

logger = logging.getLogger("potluck.node")

_TAKING_AT_ONCE: Final = 64
_AT_ONCE_BYTES_MAX: Final = 8 << 20


class Judge(Protocol):
    """What the shelf asks of whoever it lies with."""

    async def may_write(self, job: str, sender: NodeId) -> bool:
        """Whether somebody who was not this job's master is it by now. Raises Unavailable while that is open."""

    async def outranked(self, job: str, sender: NodeId, epoch: int) -> int | None:
        """The epoch under which this node is the job's master itself, unless the sender's is
        higher: then it gives way first. Raises Unavailable while that is open."""


class Shelf:
    def __init__(
        self,
        archive: Archive,
        judge: Judge,
        fetch: Callable[[Reference], Awaitable[bytes]],
        owner: bytes,
        owner_bytes_max: int,
    ) -> None:
        """`owner`: this node's; logs are taken from its other nodes and from nobody else."""
        self.heads: dict[str, Head] = {}
        self._archive = archive
        self._judge = judge
        self._fetch = fetch
        self._owner = owner
        self._owner_bytes_max = owner_bytes_max
        self._locks: dict[str, trio.Lock] = {}
        self._taking = trio.CapacityLimiter(_TAKING_AT_ONCE)

    def load(self) -> None:
        self.heads = self._archive.heads()
        for job, head in list(self.heads.items()):
            if head.owner != self._owner:
                self._bring_along(job, head)

    def _bring_along(self, job: str, head: Head) -> None:
        """It was written when this machine belonged to another owner, before it came to where it is now. Who has the
        machine has its jobs."""
        self.put(job, msgspec.structs.replace(head, owner=self._owner))
        try:
            for opened in self.entries(job, 1):
                assert isinstance(opened, Opened)
                self._archive.write(job, 0, [encode_entry(msgspec.structs.replace(opened, owner=self._owner))])
        except RemoteProtocolError as error:
            logger.error("job %s is not brought along: %s", job, error)

    def put(self, job: str, head: Head) -> None:
        self.heads[job] = head
        self._archive.put_head(job, head)

    def drop(self, job: str) -> None:
        """Nobody needs it any more."""
        self.heads.pop(job, None)
        self._archive.drop(job)

    def kept_bytes(self, owner: bytes) -> int:
        return sum(head.bytes_kept for head in self.heads.values() if head.owner == owner)

    def entries(self, job: str, end: int) -> Iterator[Entry]:
        """Raises RemoteProtocolError for what does not parse."""
        for number, data in enumerate(self._archive.entries(job, 0, end)):
            entry = decode_entry(data)
            if not number and not isinstance(entry, Opened):
                raise RemoteProtocolError(f"the log of job {job} does not say whose it is")
            yield entry

    async def take(self, link: Link, message: JobLog) -> None:
        """Answers once everything is on disk; not at all where that cannot be."""
        job = message.job
        try:
            async with self._taking:
                answer = await self._take_in_turn(link, message)
            link.post(answer)
        except RemoteProtocolError as error:
            link.lose(error)
        except PotluckError as error:
            logger.info("the log of job %s was not taken: %s", job, error)

    async def _take_in_turn(self, link: Link, message: JobLog) -> JobLogged:
        """One of a job after the other."""
        lock = self._locks.setdefault(message.job, trio.Lock())  # and from here on waited for, so that all have one
        try:
            async with lock:
                return await self._take(link, message)
        finally:
            if not lock.locked():
                self._locks.pop(message.job, None)

    async def _take(self, link: Link, message: JobLog) -> JobLogged:
        sender, job, request = link.peer.node_id, message.job, message.request
        theirs = Log(tuple(message.eras), message.length)
        if not is_sound(theirs):
            raise RemoteProtocolError("a job's log has eras that no master writes")
        if bytes(link.peer.owner_id) != self._owner:
            return JobLogged(request, theirs.epoch, 0, refused=True)
        if (epoch := await self._judge.outranked(job, sender, theirs.epoch)) is not None:
            return JobLogged(request, epoch, 0)
        head = self.heads.get(job)
        own = head.log if head is not None else Log()
        if head is not None and sender != head.master:
            if theirs.epoch < own.epoch:
                return JobLogged(request, own.epoch, own.length)
            if not await self._judge.may_write(job, sender):
                return JobLogged(request, theirs.epoch + 1, 0)
        if self.kept_bytes(self._owner) + sum(map(len, message.entries)) > self._owner_bytes_max:
            return JobLogged(request, theirs.epoch, own.length, refused=True)
        entries = self._at_once(message.entries)
        taken = take(own, theirs, message.first, len(entries))
        if taken is None:
            return JobLogged(request, own.epoch, own.length)
        fresh = entries[taken.skip :][: taken.log.length - taken.keep]
        try:
            kept_bytes = await self._fetch_objects(job, sender, fresh)
        except (NotFound, LimitExceeded, LinkLost) as error:
            logger.info("payloads of job %s cannot be had: %s", job, error)
            return JobLogged(request, theirs.epoch, own.length, refused=True)
        if self.heads.get(job) is not head:
            raise Unavailable("it has got another place meanwhile")
        self._archive.cut(job, taken.keep, own.length)
        self._archive.write(job, taken.keep, fresh)
        kept_bytes += sum(map(len, fresh)) - self._strip_replaced(job, fresh)
        self.put(
            job,
            Head(
                eras=list(taken.log.eras),
                length=taken.log.length,
                shown=max(min(message.shown, taken.log.length), min(head.shown, taken.keep) if head is not None else 0),
                master=sender,
                deputies=message.deputies,
                owner=self._owner,
                bytes_kept=(head.bytes_kept if head is not None else 0) + kept_bytes,
                unfenced=head.unfenced if head is not None else False,
            ),
        )
        try:
            await self._archive.commit()
        except Unavailable as error:
            logger.warning("the log of job %s is not on disk: %s", job, error)
            return JobLogged(request, theirs.epoch, taken.keep, refused=True)
        return JobLogged(request, theirs.epoch, taken.log.length)

    def _strip_replaced(self, job: str, entries: list[bytes]) -> int:
        """Takes out what these make needless; how many bytes that frees."""
        came = (entry for entry in map(decode_entry, entries) if isinstance(entry, Came))
        return sum(self._archive.strip(job, entry.replaces) for entry in came if entry.replaces)

    def _at_once(self, entries: list[bytes]) -> list[bytes]:
        """As many as are fetched and written in one go, at least one: their long payloads are in memory until then, and
        its master waits for the answer."""
        size_bytes = 0
        for number, data in enumerate(entries):
            size_bytes += sum(one.size_bytes for one in references_in(iter([decode_entry(data)])))
            if number and size_bytes > _AT_ONCE_BYTES_MAX:
                return entries[:number]
        return entries

    async def _fetch_objects(self, job: str, sender: NodeId, entries: list[bytes]) -> int:
        """Long payloads come on a connection of their own, and are here before the entries that name them."""
        fetched_bytes = 0
        for reference in references_in(decode_entry(data) for data in entries):
            if self._archive.get_object(reference.object_id) is None:
                data = await self._fetch(Reference(reference.object_id, reference.size_bytes, sender))
                if len(data) > self._owner_bytes_max:
                    raise LimitExceeded("a payload of a job is longer than all that is kept for its owner")
                self._archive.put_object(job, reference.object_id, data)
                fetched_bytes += len(data)
        return fetched_bytes


def references_in(entries: Iterator[Entry]) -> Iterator[Reference]:
    for entry in entries:
        match entry:
            case Added(program, tasks):
                payloads = [program.body, *(task.arguments for task in tasks)]
            case Ended(_, _, reports):
                payloads = [report.value for report in reports]
            case _:
                payloads = []
        yield from (payload for payload in payloads if isinstance(payload, Reference))
