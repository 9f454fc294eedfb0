"""Shell of one lasting job at its master: appends to the log, streams it to deputies, keeps the seat.

SEATING ──the register names this node──▶ HOLDING ──another epoch is heard of──▶ outranked: `run` ends
                 while HOLDING: deputies that died are replaced, and what all of them hold is shown
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Final, Protocol

import trio

from ...overlay.bell import Bell
from ...overlay.errors import NotFound, PotluckError, Unavailable
from ...overlay.ids import NodeId
from ...overlay.wire.control import NodeReports, TaskSpec
from ...overlay.wire.joblog import (
    Added,
    Came,
    Ended,
    Entry,
    Given,
    JobLog,
    JobLogged,
    Opened,
    Sealed,
    decode_entry,
    encode_entry,
)
from ...overlay.wire.work import Finished, Program, Report
from ..jobs.batches import checkpoint_bytes, cut, payload_bytes, report_bytes
from ..jobs.effects import Note
from .archive import Archive, Head
from .backlog import Backlog
from .deputies import choose
from .journal import Journal
from .milestones import Milestones
from .outcomes import Outcomes
from .replication import Replication
from .seats import Change, Seat, hold, register_of
from .story import Counts, Story

logger = logging.getLogger("potluck.node")

_REVIEW_S: Final = 1.0
_PATIENCE_S: Final = 2.0
"""For a new deputy to take in what was shown, before the job goes on with fewer."""
_ENTRY_BYTES_MAX: Final = 256 << 10
_PAUSE_S: Final = 0.3

Sink = Callable[[str, list[NodeReports]], None]


class Office(Protocol):
    """What the masteries of a node share."""

    own_id: NodeId
    archive: Archive
    backlog: Backlog

    def candidates(self, owner: bytes) -> list[bytes]:
        """The owner's nodes that are there, without this one."""

    def is_present(self, node_id: bytes) -> bool: ...

    async def change(self, register: bytes, change: Change) -> Seat:
        """Raises Unavailable, NotFound."""

    async def tell(self, node_id: bytes, make: Callable[[int], JobLog], timeout_s: float) -> JobLogged:
        """Raises Unavailable, NotAllowed."""

    def now_s(self) -> float:
        """Mesh time."""

    def is_pair(self, register: bytes) -> bool:
        """Whether only two have to agree on it: of these the survivor can never have a majority."""

    def lasting(self, mastery: Mastery, reports: Sequence[Finished]) -> list[Finished]:
        """With long values on disk."""


class Mastery:
    """Plain methods never wait; what follows from them happens in `run`."""

    def __init__(
        self, office: Office, job: str, journal: Journal, seat: Seat, opened: Opened, *, unfenced: bool = False
    ) -> None:
        self.job = job
        self.seat = seat
        self.opened = opened
        self.journal = journal
        self.counts = Counts()
        self.outcomes = Outcomes()
        """Shown or not."""
        self._milestones = Milestones()
        self.first_seat: Callable[[], Awaitable[Seat]] | None = None
        """Makes a new job's seat, while its log is under way already."""
        self.sink: Sink | None = None
        """The client that follows the job, while there is one."""
        self.ended = trio.Event()
        self.unfenced = unfenced
        self.waits_for = ""
        """Why nothing new is shown, when that is so."""
        self.fetched = False
        self.forgotten = False
        """Nothing of it is to be kept."""
        self.bytes_kept = 0
        self._unwritten_bytes = 0
        """Of its payloads in the backlog."""
        self._office = office
        self._fenced = not unfenced
        self._shown_counts = Counts()
        self._counted = 0
        """Entries of the log that are in it."""
        self._due: deque[tuple[int, Callable[[], None]]] = deque()
        """What is to be done once so much is shown."""
        self._replication = Replication(office, job, journal, self)
        self._wanted_since: tuple[frozenset[bytes], float] = (frozenset(), 0.0)
        self._settled = 0
        self._waits_since_s = 0.0
        """Not all is shown, and no more of it than what is settled has been since."""
        self._on_over: Callable[[], None] | None = None
        self._scope = trio.CancelScope()
        self._added = trio.lowlevel.ParkingLot()
        self._dirty = Bell()
        self._stirred = Bell()
        journal.name_deputies(seat.deputies)

    @property
    def epoch(self) -> int:
        return self.seat.epoch

    @property
    def deputies(self) -> list[bytes]:
        return list(self.seat.deputies)

    @property
    def over(self) -> bool:
        """Everything has its outcome, and whoever succeeds this node has it, too."""
        return self.counts.over and self.journal.shown == self.journal.log.length

    def resume(self, counts: Counts, story: Story, bytes_kept: int, shown: int) -> None:
        """What the log of an earlier master holds."""
        self.counts, self.outcomes, self.bytes_kept = counts, story.outcomes, bytes_kept
        self._milestones.resume(story.came)
        self.journal.shown = shown
        self._dirty.ring()

    # What happens to the job

    def open(self) -> None:
        self._append([self.opened])

    def add(self, program: Program, specs: Sequence[TaskSpec]) -> None:
        """`program` comes without its body when the log has it."""
        if not specs:
            self._append([Added(program, [])])
        for part in cut(specs, _spec_bytes, _ENTRY_BYTES_MAX):
            self._append([Added(program, part)])
            self._added.unpark_all()
            program = Program(program.program_id, program.form, libraries=program.libraries)

    def seal(self) -> None:
        if not self.counts.sealed:
            self._append([Sealed()])

    def take(self, _job: str, batches: list[NodeReports]) -> None:
        """Reports from the engine. Outcomes are told once they are shown; that a task has begun, at once."""
        for batch in batches:
            fresh = [one for one in batch.reports if isinstance(one, Finished) and one.index not in self.outcomes]
            begun: list[Report] = [one for one in batch.reports if not isinstance(one, Finished)]
            if begun and self.sink is not None:
                self.sink(self.job, [NodeReports(batch.node, batch.own, begun)])
            for part in cut(self._office.lasting(self, fresh), report_bytes, _ENTRY_BYTES_MAX):
                for report in part:
                    self.outcomes.note(report.index, self.journal.log.length)
                self._append([Ended(batch.node, batch.own, part, self._office.now_s())])
                self.when_shown(partial(self._show, NodeReports(batch.node, batch.own, list(part))))
                self._replace(self._milestones.ended(report.index for report in part))

    def _show(self, told: NodeReports) -> None:
        if self.sink is not None:
            self.sink(self.job, [told])

    def note(self, note: Note) -> None:
        """How far a task has come, which has no outcome yet."""
        self._replace([self._milestones.entry(note, self.journal.log.length)])

    def _replace(self, entries: list[Came]) -> None:
        if entries:
            self._append(entries)
        for replaced in [entry.replaces for entry in entries if entry.replaces]:
            self.when_shown(partial(self._strip, replaced))

    def _strip(self, number: int) -> None:
        self.bytes_kept -= self._office.archive.strip(self.job, number)

    def give(self, node: str, indexes: list[int], begin: Callable[[], None]) -> None:
        """Tasks that must not run twice: begun once whoever succeeds this node knows that they may have."""
        self._append([Given(indexes, node)])
        self.when_shown(begin)

    def when_shown(self, then: Callable[[], None]) -> None:
        """Calls it when everything that the log holds now is shown."""
        self._due.append((self.journal.log.length, then))

    async def shown(self) -> None:
        """Waits for that, or for the end of this mastery."""
        event = trio.Event()
        self.when_shown(event.set)
        self._settle()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._set_at_end, event)
            await event.wait()
            nursery.cancel_scope.cancel()

    async def _set_at_end(self, event: trio.Event) -> None:
        await self.ended.wait()
        event.set()

    async def complete(self, tasks: int) -> None:
        """Waits until so many have come."""
        while self.counts.tasks < tasks and not self.ended.is_set():
            await self._added.park()

    @property
    def hindrance(self) -> str:
        """Why nothing new is shown, or is not for a while; empty while that goes well."""
        slow = self.journal.shown < self.journal.log.length and trio.current_time() > self._waits_since_s + _PATIENCE_S
        return self.waits_for or ("its deputies do not answer" if slow else "")

    def _append(self, entries: Iterable[Entry]) -> None:
        encoded = []
        if self.journal.shown == self.journal.log.length:
            self._waits_since_s = trio.current_time()
        for entry in entries:
            self.counts.take(entry)
            encoded.append(encode_entry(entry))
        self._office.archive.write(self.job, self.journal.log.length, encoded)
        self.bytes_kept += sum(map(len, encoded))
        self.journal.appended(len(encoded))
        self._dirty.ring()

    def head(self) -> Head:
        log = self.journal.log
        return Head(
            eras=list(log.eras),
            length=log.length,
            shown=self.journal.shown,
            master=self.seat.master,
            deputies=list(self.seat.deputies),
            owner=self.opened.owner,
            bytes_kept=self.bytes_kept,
            unfenced=self.unfenced,
            fetched=self.fetched,
        )

    @property
    def shown_counts(self) -> Counts:
        """As `counts`, of what may be told."""
        for entry in self.shown_entries(self._counted):
            self._shown_counts.take(entry)
            self._counted += 1
        return self._shown_counts

    def shown_entries(self, first: int = 0) -> Iterator[Entry]:
        """Those that may be told."""
        return self._entries(first, self.journal.shown)

    def shown_entry(self, number: int) -> Entry | None:
        """None for one that may not be told."""
        return next(self._entries(number, min(number + 1, self.journal.shown)), None)

    def _entries(self, first: int, end: int) -> Iterator[Entry]:
        return map(decode_entry, self._office.archive.entries(self.job, first, end))

    def unshown_entries(self) -> Iterator[Entry]:
        """Those that are here and not yet at every deputy."""
        return self._entries(self.journal.shown, self.journal.log.length)

    def note_fetched(self) -> None:
        if self.over and not self.fetched:
            self.fetched = True
            self._dirty.ring()

    # Its life here

    async def run(self, on_over: Callable[[], None]) -> None:
        """Until it is outranked or ended. `on_over` is called once every task has its outcome for good."""
        self._on_over = on_over
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._sync)
                    self._replication.follow(self.seat.deputies, nursery)
                    if self.first_seat is not None:
                        await self._be_seated(self.first_seat)
                    await self._tend(nursery)
        finally:
            self._written(self._unwritten_bytes)
            self.ended.set()
            self._added.unpark_all()

    def end(self) -> None:
        self._scope.cancel()

    def drop(self) -> None:
        self._office.archive.drop(self.job)

    def keep_object(self, object_id: bytes, data: bytes) -> None:
        """A payload that the log names lies on disk, here and at deputies."""
        self._office.archive.put_object(self.job, object_id, data)
        self.bytes_kept += len(data)
        self._unwritten_bytes += len(data)
        self._office.backlog.add(len(data))

    def _written(self, size_bytes: int) -> None:
        self._unwritten_bytes -= size_bytes
        self._office.backlog.remove(size_bytes)

    @property
    def is_seated(self) -> bool:
        """Whether its seat stands in a register."""
        return self.journal.seated and not self.opened.options.confidential

    def compare(self, seat: Seat | None) -> None:
        """With what the register said after this node was seated there."""
        if seat is None:
            self.forgotten = True
            self.end()
        elif seat.epoch > self.epoch:
            self.end()

    def stir(self) -> None:
        """Somebody has come or gone."""
        self._stirred.ring()

    async def _be_seated(self, seated: Callable[[], Awaitable[Seat]]) -> None:
        """Until the register names this node, nothing is shown."""
        self.journal.seated = False
        while True:
            try:
                self.seat = await seated()
            except PotluckError as error:
                self.waits_for = str(error)
                await trio.sleep(_PAUSE_S)
            else:
                self.journal.seated, self.waits_for = True, ""
                self._name(self.seat.deputies)
                return

    async def _sync(self) -> None:
        """Callers that append at the same time share one commit."""
        while True:
            await self._dirty.heard()
            length, in_this_commit_bytes = self.journal.log.length, self._unwritten_bytes
            self._office.archive.put_head(self.job, self.head())
            try:
                await self._office.archive.commit()
            except Unavailable as error:
                self.waits_for = str(error)
                self._dirty.ring()
                await trio.sleep(_PAUSE_S)
            else:
                self._written(in_this_commit_bytes)
                self.journal.on_disk(length)
                self._settle()

    def acknowledged(self) -> None:
        self._settle()

    def outranked(self) -> None:
        self.end()

    def _settle(self) -> None:
        """Something has moved: does what is due, and wakes the streams."""
        if self.journal.shown > self._settled:
            self._settled, self._waits_since_s = self.journal.shown, trio.current_time()
        while self._due and self._due[0][0] <= self.journal.shown:
            self._due.popleft()[1]()
        if self.over and self._on_over is not None:
            on_over, self._on_over = self._on_over, None
            on_over()
        self._replication.wake()

    # The seat

    async def _tend(self, nursery: trio.Nursery) -> None:
        while True:
            self._stirred.hush()
            await self._review(nursery)
            with trio.move_on_after(_REVIEW_S):
                await self._stirred.heard()

    async def _review(self, nursery: trio.Nursery) -> None:
        """Whoever died is replaced by one who has caught up."""
        now_s, named = trio.current_time(), self.seat.deputies
        refuses = self._replication.refuses
        present = [node_id for node_id in named if self._office.is_present(node_id) and not refuses(node_id)]
        able = [node_id for node_id in self._office.candidates(self.opened.owner) if not refuses(node_id)]
        wanted = choose(self.job, present, able)
        self._replication.follow({*named, *wanted}, nursery)
        if self._wanted_since[0] != frozenset(wanted):
            self._wanted_since = frozenset(wanted), now_s
        ready = [node_id for node_id in wanted if node_id in present or self.journal.is_ready(node_id)]
        waits = len(ready) < len(wanted) and now_s < self._wanted_since[1] + _PATIENCE_S
        in_doubt = not self._fenced or self.journal.deputies != frozenset(named)
        if in_doubt or (set(ready) != set(named) and not waits):
            await self._hold(ready)

    async def _hold(self, deputies: list[bytes]) -> None:
        """While it is not known whether the change was made, those of before and after both count."""
        self.journal.name_deputies({*self.seat.deputies, *deputies})
        register = register_of(self.job)
        try:
            seat = await self._office.change(register, hold(self.job, self.seat.master, self.epoch, deputies))
        except NotFound:
            self.forgotten = True
            self.end()
        except PotluckError as error:
            self.waits_for = str(error)
            alone = isinstance(error, Unavailable) and self._office.is_pair(register)
            if alone and not self.opened.options.at_most_once:  # the other may have begun what must not run twice
                self._go_on_unfenced(deputies)
        else:
            self._seated(seat)

    def _seated(self, seat: Seat) -> None:
        if (seat.master, seat.epoch) != (self.seat.master, self.seat.epoch):
            self.end()
            return
        self.seat, self.waits_for, self._fenced = seat, "", True
        self._name(seat.deputies)

    def _name(self, deputies: Sequence[bytes]) -> None:
        self.journal.name_deputies(deputies)
        self._dirty.ring()
        self._settle()

    def _go_on_unfenced(self, deputies: list[bytes]) -> None:
        """Of two, the survivor: waiting for the other could be for ever."""
        self.unfenced, self._fenced, self.waits_for = True, False, ""
        self.seat = Seat(self.seat.master, self.epoch, deputies)
        self._name(deputies)


def _spec_bytes(spec: TaskSpec) -> int:
    return payload_bytes(spec.arguments) + checkpoint_bytes(spec.checkpoint)
