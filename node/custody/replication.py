"""Shell of one lasting job's log on its way from the master to its deputies: a stream to each.

nothing is known of a deputy ──asked with an empty batch──▶ it says what it holds ──▶ the next entries, as they come
it does not answer ──▶ again, after a pause        it refuses ──▶ left alone for a while
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Final, Protocol

import trio

from ...overlay.errors import NotAllowed, Unavailable
from ...overlay.wire.joblog import ENTRIES_MAX, JobLog, JobLogged
from ..jobs.batches import BATCH_BYTES_MAX
from .archive import Archive
from .journal import Journal

logger = logging.getLogger("potluck.node")

_TIMEOUT_S: Final = 10.0
_PAUSE_S: Final = 0.3
_UNWILLING_S: Final = 60.0


class Sender(Protocol):
    """Through whom the deputies are told."""

    archive: Archive

    async def tell(self, node_id: bytes, make: Callable[[int], JobLog], timeout_s: float) -> JobLogged:
        """Raises Unavailable, NotAllowed."""


class Following(Protocol):
    """What the job's master is told of those who follow it."""

    @property
    def epoch(self) -> int: ...

    @property
    def deputies(self) -> list[bytes]:
        """As its seat names them."""

    def outranked(self) -> None:
        """The job has another master."""

    def acknowledged(self) -> None:
        """More of the log may be shown."""

    def stir(self) -> None:
        """Somebody is ready to be named, or will not be."""


class Replication:
    def __init__(self, sender: Sender, job: str, journal: Journal, master: Following) -> None:
        self._sender = sender
        self._job = job
        self._journal = journal
        self._master = master
        self._streams: dict[bytes, trio.CancelScope] = {}
        self._unwilling: dict[bytes, float] = {}
        self._changed = trio.Event()

    def wake(self) -> None:
        """There is more to tell."""
        self._changed.set()
        self._changed = trio.Event()

    def refuses(self, node_id: bytes) -> bool:
        return self._unwilling.get(node_id, 0.0) > trio.current_time()

    def follow(self, node_ids: Iterable[bytes], nursery: trio.Nursery) -> None:
        """Streams to these and to nobody else."""
        wanted = set(node_ids)
        for node_id in sorted(set(self._streams) - wanted):
            self._streams.pop(node_id).cancel()
            self._journal.forgotten(node_id)
        for node_id in sorted(wanted - set(self._streams)):
            scope = self._streams[node_id] = trio.CancelScope()
            nursery.start_soon(self._stream, node_id, scope)

    async def _stream(self, node_id: bytes, scope: trio.CancelScope) -> None:
        told, journal = -1, self._journal
        with scope:
            while True:
                changed = self._changed
                held = journal.held_by(node_id)
                if held is not None and held >= journal.synced and told == journal.shown:
                    await changed.wait()
                    continue
                shown = journal.shown
                try:
                    answer = await self._tell(node_id, held)
                except (Unavailable, NotAllowed) as error:
                    logger.debug("the log of job %s did not reach a deputy: %s", self._job, error)
                    await trio.sleep(_PAUSE_S)
                    continue
                told = shown
                self._heard(node_id, answer)
                if held is not None and answer.length <= held < journal.synced:
                    await trio.sleep(_PAUSE_S)  # it has taken nothing in

    def _tell(self, node_id: bytes, held: int | None) -> Awaitable[JobLogged]:
        """The next entries; to one that has not said what it holds, none."""
        log, synced = self._journal.log, self._journal.synced
        first = synced if held is None else held
        entries = self._sender.archive.read(self._job, first, min(synced, first + ENTRIES_MAX), BATCH_BYTES_MAX)
        shown, deputies = self._journal.shown, list(self._master.deputies)
        return self._sender.tell(
            node_id,
            lambda number: JobLog(number, self._job, list(log.eras), log.length, shown, first, entries, deputies),
            _TIMEOUT_S,
        )

    def _heard(self, node_id: bytes, answer: JobLogged) -> None:
        if answer.epoch > self._master.epoch:
            logger.info("job %s has another master by now", self._job)
            self._master.outranked()
        elif answer.refused:
            self._unwilling[node_id] = trio.current_time() + _UNWILLING_S
            if (stream := self._streams.pop(node_id, None)) is not None:
                stream.cancel()
            self._master.stir()
        else:
            before = self._journal.is_ready(node_id)
            self._journal.acknowledged(node_id, answer.length)
            self._master.acknowledged()
            if not before:
                self._master.stir()
