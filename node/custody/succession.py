"""Shell: who goes on with a job whose master is gone, and which logs nobody needs any more."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ...overlay.background import Background
from ...overlay.errors import NotAllowed, NotFound, PotluckError, RemoteProtocolError, Unavailable
from ...overlay.wire.joblog import Entry, JobLog, Opened
from .archive import Archive, Head
from .seats import Seat, register_of, succeed
from .shelf import Shelf

if TYPE_CHECKING:
    from .service import Custody

logger = logging.getLogger("potluck.node")

_RETRY_S: Final = 1.0
_LOOK_AGAIN_S: Final = 10.0
_STEP_S: Final = 1.0
"""A deputy waits so long for each that stands before it."""
_LOOKS: Final = 3
"""Times that a log is found to be nobody's before it is dropped."""


class Succession:
    def __init__(self, custody: Custody, shelf: Shelf, archive: Archive, background: Background) -> None:
        self._custody = custody
        self._shelf = shelf
        self._archive = archive
        self._background = background
        self._succeeding: set[str] = set()
        self._seen: dict[str, tuple[int, int]] = {}
        """Logs that nobody seems to need: how long they were, and how often that was so."""

    def begin(self, job: str) -> None:
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
        head = self._shelf.heads.get(job)
        return head is not None and (head.master == self._custody.own_id or not self._custody.is_present(head.master))

    async def _wait_turn(self, job: str) -> None:
        head = self._shelf.heads.get(job)  # it may have been taken over since this was begun
        if head is not None and self._custody.own_id in head.deputies:
            before = head.deputies[: head.deputies.index(self._custody.own_id)]
            await trio.sleep(_STEP_S * sum(map(self._custody.is_present, before)))

    async def _try_to_succeed(self, job: str) -> None:
        head = self._shelf.heads[job]
        register, unfenced = register_of(job), False
        entries = self._entries(job, head)
        if entries is None:
            await self._pass_on(job, head)
            return
        if head.master == self._custody.own_id and not await self._ask_deputies(job, head):
            await self._meet_deputies(job)
            await self._ask_deputies(job, head)
        if self._shelf.heads.get(job) is not head:
            return  # one of them knows better
        try:
            seat = await self._custody.change(
                register,
                succeed(job, self._custody.own_id, head.master, head.log.epoch + 1, partial(self._is_orphaned, job)),
            )
        except NotFound:
            await self.drop(job)
            return
        except Unavailable as error:
            if not self._custody.is_pair(register) or _runs_once(entries):
                logger.info("job %s waits for a master: %s", job, error)
                await trio.sleep(_RETRY_S)
                return
            seat, unfenced = Seat(self._custody.own_id, head.log.epoch + 1), True
        except PotluckError as error:
            logger.error("job %s finds no master: %s", job, error)
            await trio.sleep(_LOOK_AGAIN_S)
            return
        if self._shelf.heads.get(job) is not head:
            return  # somebody's log came meanwhile: looked at again
        if seat.master != self._custody.own_id:
            self._shelf.put(job, msgspec.structs.replace(head, master=seat.master, deputies=list(seat.deputies)))
            if self._custody.own_id not in seat.deputies:
                await self.drop(job)
            return
        self._custody.take_over(job, head, seat, entries, unfenced=unfenced or head.unfenced)

    async def _pass_on(self, job: str, head: Head) -> None:
        """This disk is damaged: a deputy is to go on, and what is left here goes."""
        for node_id in head.deputies if head.master == self._custody.own_id else ():
            change = succeed(job, node_id, self._custody.own_id, head.log.epoch + 1)
            try:
                await self._custody.change(register_of(job), change)
            except PotluckError as error:
                logger.error("job %s was not passed on: %s", job, error)
                await trio.sleep(_LOOK_AGAIN_S)
                return
            break
        await self.drop(job)

    def _entries(self, job: str, head: Head) -> list[Entry] | None:
        """The whole log as it lies here; None where the disk has lost some of it."""
        try:
            entries = list(self._shelf.entries(job, head.length))
        except RemoteProtocolError as error:
            logger.error("the log of job %s is damaged here, and the job cannot go on here: %s", job, error)
            return None
        if len(entries) == head.length and entries:
            return entries
        if lost := head.length - len(entries):
            logger.error("job %s cannot go on here: the disk has lost %d of its entries", job, lost)
        return None

    async def _ask_deputies(self, job: str, head: Head) -> bool:
        """A master that comes back asks first who went on without it: of two, the register cannot tell. Whether all
        have answered."""
        answered = 0
        for node_id in head.deputies:
            try:
                said = await self._custody.tell(node_id, lambda number: _asking(number, job, head), _RETRY_S)
            except (Unavailable, NotAllowed):
                continue
            answered += 1
            if said.epoch > head.log.epoch and job in self._shelf.heads:
                await self._give_way(job, head, node_id, said.epoch)
        return answered == len(head.deputies)

    async def _give_way(self, job: str, head: Head, deputy: bytes, epoch: int) -> None:
        """To one that has shown more under that epoch."""
        try:
            await self._custody.change(register_of(job), succeed(job, deputy, self._custody.own_id, epoch))
        except PotluckError as error:
            logger.debug("that job %s has another master is not agreed yet: %s", job, error)
        if job in self._shelf.heads:
            self._shelf.put(job, msgspec.structs.replace(head, master=deputy))

    async def _meet_deputies(self, job: str) -> None:
        """A node that has just started knows nobody. What agrees on the next master has to be reached in any case, and
        of two that is the other one."""
        try:
            await self._custody.seat_of(job)
        except Unavailable as error:
            logger.debug("who is master of job %s cannot be agreed on yet: %s", job, error)

    async def look_over(self) -> None:
        """Every register is read once. A master that was cut off and has nothing to tell hears here that it is none."""
        by_register: dict[bytes, list[str]] = {}
        seated = {job: mastery for job, mastery in self._custody.masteries.items() if mastery.is_seated}
        for job in (*self._shelf.heads, *seated):
            by_register.setdefault(register_of(job), []).append(job)
        for register, jobs in by_register.items():
            try:
                seats = await self._custody.seats_in(register)
            except PotluckError:
                continue  # a part of the mesh that cannot agree keeps what it has
            for job in jobs:
                if job in seated:  # before the register was read, so that it must stand there
                    seated[job].compare(seats.get(job))
                else:
                    await self._judge(job, seats.get(job))

    async def look_at(self, job: str) -> None:
        try:
            seat = await self._custody.seat_of(job)
        except PotluckError:
            return  # likewise
        await self._judge(job, seat)

    async def _judge(self, job: str, seat: Seat | None) -> None:
        """Whose job is it, and is it still one?"""
        head = self._shelf.heads.get(job)
        if head is None:
            return
        if seat is None or self._custody.own_id not in (seat.master, *seat.deputies):
            if self._is_unneeded(job, head):
                await self.drop(job)
            return
        self._seen.pop(job, None)
        if seat.master != head.master or list(seat.deputies) != head.deputies:
            self._shelf.put(job, msgspec.structs.replace(head, master=seat.master, deputies=list(seat.deputies)))
        if self._is_orphaned(job):
            self._background.start(self._succeed, job)

    def _is_unneeded(self, job: str, head: Head) -> bool:
        """A new job's log comes before its seat is agreed, and a deputy's before it is named: nothing was shown."""
        length, looks = self._seen.get(job, (head.length, 0))
        looks = looks + 1 if length == head.length else 1
        self._seen[job] = head.length, looks
        return looks >= (1 if head.shown else _LOOKS)

    async def drop(self, job: str) -> None:
        self._seen.pop(job, None)
        self._shelf.drop(job)
        try:
            await self._archive.commit()
        except Unavailable as error:
            logger.debug("job %s is not removed yet: %s", job, error)


def _runs_once(entries: list[Entry]) -> bool:
    """Of two, the other may have begun what must not run twice: whoever is left waits."""
    opened = entries[0]
    return isinstance(opened, Opened) and opened.options.at_most_once


def _asking(number: int, job: str, head: Head) -> JobLog:
    """Says nothing new, and hears under which epoch the other one obeys."""
    return JobLog(number, job, head.eras, head.length, 0, head.length, [], head.deputies)
