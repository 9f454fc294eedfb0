"""This node's own audit log: what execution has run goes into it, and its head to those who keep it.

Runs gather for a moment, so that a task costs a tuple here, and the hashing and the disk serve many.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable
from itertools import groupby
from typing import Final, NamedTuple

import msgspec
import trio

from ...overlay.bell import Bell
from ...overlay.clock import MeshTime
from ...overlay.errors import PotluckError
from ...overlay.identity.keys import KeyPair
from ...overlay.ids import NodeId, distance, node_id_of
from ...overlay.links.link import Link
from ...overlay.links.links import Links
from ...overlay.parcels import Held, Parcel, pieces_of, size_of
from ...overlay.ports import Store
from ...overlay.wire.audit import (
    ENTRIES_MAX,
    RUNS_MAX,
    START,
    AskEntries,
    AskHeads,
    AuditHead,
    Entries,
    Head,
    Heads,
    Run,
    signed_part,
)
from ...overlay.wire.codec import Message
from ...overlay.wire.layout import encode_inline
from ...overlay.wire.work import Finished, Inline
from .chain import Chain
from .witnesses import Witness

logger = logging.getLogger("potluck.audit")

WITNESSES: Final = 3
GATHER_S: Final = 1.0
"""A node that is killed loses the log of so much; what it signs, it has on disk."""
BYTES_MAX: Final = 64 << 20
"""Older entries are let go beyond this."""
ANSWER_BYTES_MAX: Final = 512 << 10
GATHERED_MAX: Final = 4096
"""So many runs wait for no more."""
LONG_BYTES_MAX: Final = 64 << 20
"""Of long values that gather; what is more is hashed at once, and whoever returns it waits."""
_HASHED_AT_ONCE_BYTES: Final = 1 << 20
_TABLE: Final = "audit"
_STATE: Final = ("audit state", b"")


class Ran(NamedTuple):
    """A task that has run here to its end, one way or another."""

    owner: bytes
    master: bytes
    job: str
    program: bytes
    report: Finished
    value: Inline | Held | None
    """What it returned, or that as `encode_inline` has it."""
    digest: bytes = b""
    """Of that, where it is known already."""


class _State(msgspec.Struct, array_like=True):
    """Where the log ends on disk, and where it begins by now."""

    number: int = 0
    digest: bytes = START
    first: int = 1
    before_first: bytes = START
    size_bytes: int = 0


class AuditLog:
    def __init__(self, key: KeyPair, store: Store, links: Links, mesh_time: MeshTime) -> None:
        self._key = key
        self._node_id = node_id_of(key.public)
        self._store = store
        self._links = links
        self._mesh_time = mesh_time
        self._gathered: list[Ran] = []
        self._long_bytes = 0
        self._wanted = Bell()
        self._many = Bell()
        self._state = _State()
        self._on_disk = 0, START
        self._writing = trio.Lock()
        self._chain = Chain()
        self.witness = Witness(store)
        links.up.append(self._tell)
        links.on(AuditHead, self._head_given)
        links.on(AskHeads, self._heads_asked)
        links.on(AskEntries, self._entries_asked)

    @property
    def head(self) -> tuple[int, bytes]:
        """Of what is on disk."""
        return self._on_disk

    def ran(self, runs: Iterable[Ran]) -> None:
        """Returns at once, unless long values gather faster than they are written down."""
        for ran in runs:
            if isinstance(ran.value, bytes | Parcel):
                self._long_bytes += size_of(ran.value)
                if self._long_bytes > LONG_BYTES_MAX:
                    ran = ran._replace(value=None, digest=_digest_now(ran.value))
            self._gathered.append(ran)
        self._wanted.ring()
        if len(self._gathered) >= GATHERED_MAX:
            self._many.ring()

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        if stored := self._store.get(*_STATE):
            self._state = msgspec.msgpack.decode(stored, type=_State)
            self._on_disk = self._state.number, self._state.digest
            self._chain = Chain(*self._on_disk)
        self.witness.load()
        task_status.started()
        while True:
            await self._wanted.heard()
            with trio.move_on_after(GATHER_S):
                await self._many.heard()
            self._wanted.hush()
            await self.write()

    async def write(self) -> None:
        """What has gathered goes to disk, and then the head to those who keep it: never one that a crash could take
        back, for that would look like rewriting."""
        async with self._writing:
            await self._write()

    async def _write(self) -> None:
        gathered, self._gathered, self._long_bytes = self._gathered, [], 0
        for (owner, master, job, program), runs in groupby(gathered, key=lambda ran: ran[:4]):
            part: list[Run] = []
            for ran in runs:
                part.append(await _run_of(ran))
                if len(part) == RUNS_MAX:
                    self._put(owner, master, job, program, part)
                    part = []
                    await trio.lowlevel.checkpoint()
            if part:
                self._put(owner, master, job, program, part)
        try:
            await self._store.commit()
        except PotluckError as error:
            logger.warning("the audit log cannot be written: %s", error)
            return
        self._on_disk = self._chain.number, self._chain.digest
        for link in self._keepers():
            self._tell(link)

    def _put(self, owner: bytes, master: bytes, job: str, program: bytes, runs: list[Run]) -> None:
        entry = self._chain.grow(self._mesh_time.now_s(), owner, master, job, program, runs)
        self._store.put(_TABLE, _key(self._chain.number), entry)
        self._state.number, self._state.digest = self._chain.number, self._chain.digest
        self._state.size_bytes += len(entry)
        while self._state.size_bytes > BYTES_MAX and self._state.first < self._chain.number:
            self._let_go()
        self._store.put(*_STATE, msgspec.msgpack.encode(self._state))

    def _let_go(self) -> None:
        """Of the oldest entry."""
        state = self._state
        entry = self._store.get(_TABLE, _key(state.first)) or b""
        self._store.delete(_TABLE, _key(state.first))
        state.before_first = hashlib.sha256(entry).digest()
        state.first += 1
        state.size_bytes -= len(entry)

    # Others

    def _keepers(self) -> list[Link]:
        """The nearest of those with a link: the same ones as long as they are there."""
        return sorted(self._links, key=lambda link: distance(self._node_id, link.peer.node_id))[:WITNESSES]

    def _tell(self, link: Link) -> None:
        if self._on_disk[0] and any(link is keeper for keeper in self._keepers()):
            link.tell(AuditHead(self.signed_head()))

    def signed_head(self) -> Head:
        number, digest = self.head
        at_s = self._mesh_time.now_s()
        signature = self._key.sign(signed_part(self._key.public, number, digest, at_s))
        return Head(self._key.public, number, digest, at_s, signature)

    def _head_given(self, link: Link, message: Message) -> None:
        assert isinstance(message, AuditHead)
        if message.head.public_key != link.peer.public_key:
            return
        if wrong := self.witness.take(message.head):
            logger.warning("the audit log of %s is not what it was: %s", link.peer.name, wrong)

    def _heads_asked(self, link: Link, message: Message) -> None:
        assert isinstance(message, AskHeads)
        link.tell(Heads(message.request, self.witness.heads_of(NodeId(message.node_id))))

    def _entries_asked(self, link: Link, message: Message) -> None:
        assert isinstance(message, AskEntries)
        first, previous, entries = self.entries(message.first)
        link.tell(Entries(message.request, first, entries, previous))

    def entries(self, wanted: int) -> tuple[int, bytes, list[bytes]]:
        """From this number on or, if it has been let go, from the first: its number, the digest before, and entries."""
        state = self._state
        first = max(wanted, state.first)
        if first > self._on_disk[0]:
            return 0, START, []
        before = self._store.get(_TABLE, _key(first - 1))
        previous = hashlib.sha256(before).digest() if before is not None else state.before_first
        entries: list[bytes] = []
        size_bytes = 0
        for number in range(first, min(first + ENTRIES_MAX, self._on_disk[0] + 1)):
            entry = self._store.get(_TABLE, _key(number)) or b""
            size_bytes += len(entry)
            if entries and size_bytes > ANSWER_BYTES_MAX:
                break
            entries.append(entry)
        return first, previous, entries


async def _run_of(ran: Ran) -> Run:
    report, value = ran.report, ran.value
    if value is not None:
        encoded = encode_inline(value) if isinstance(value, Inline) else value
        ran = ran._replace(digest=await _digest(encoded))
    code = 0 if report.fault is None else report.fault.code
    return Run(report.index, report.attempt, report.started_s, report.elapsed_s, code, ran.digest)


def _digest_now(held: Held) -> bytes:
    digest = hashlib.sha256()
    for piece in pieces_of(held, _HASHED_AT_ONCE_BYTES):
        digest.update(piece)
    return digest.digest()


async def _digest(held: Held) -> bytes:
    """Others have their turn in between where it takes long."""
    digest = hashlib.sha256()
    for piece in pieces_of(held, _HASHED_AT_ONCE_BYTES):
        digest.update(piece)
        if size_of(held) > _HASHED_AT_ONCE_BYTES:
            await trio.lowlevel.checkpoint()
    return digest.digest()


def _key(number: int) -> bytes:
    return number.to_bytes(8, "big")
